"""Names that mean two things, records that say the same twice, guesses about protocols, and packages that import in circles.

Four lists of what should not be in src/preflab, read from the syntax tree:

- `twice`: a public name (class, function, constant, type alias) that two modules define at their top level.
- `similar`: two records (pydantic models, dataclasses, named tuples) that share more than half of the smaller one's fields
  by name and type, and at least `LEAST_SHARED`. What both inherit from one class is defined once, so it does not count;
  neither does `kind`, the tag of every spec. Two methods may be alike: each states its own hyper-parameters. `ALIKE` holds
  other pairs that may, each with its reason.
- `guesses`: `getattr`, `hasattr`, `vars`, `__dict__` and `except AttributeError`, but for what `ALLOWED` holds: objects whose
  protocol is not preflab's.
- `circles`: packages that import each other, directly or through others, imports by name and for type checking included.

What `ALLOWED` or `ALIKE` holds and the tree does not is listed too. Exit code 1 where any list holds something; `--report`
prints without failing, `--table` prints the rows of docs/walks.md.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from itertools import combinations, pairwise
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).resolve().parent.parent / "src" / "preflab"
PACKAGE = "preflab"
LEAST_SHARED = 3
BEFORE = {"twice": 126, "similar": 30, "guesses": 57, "circles": 2}
"""The lengths of the lists before the packages were reorganised."""
TITLES = {
    "twice": "names defined twice",
    "similar": "pairs of similar records",
    "guesses": "guesses about protocols",
    "circles": "pairs of packages in a circle",
}

ALIKE: Mapping[tuple[str, str], str] = {
    ("analysis/record/declared.py:PaperTable", "theory/finding.py:FindingTable"): "a theory's page knows no study",
    (
        "evaluation/bench.py:Bench",
        "evaluation/held_out.py:HeldOut",
    ): "both measure a policy, with evaluators and without",
    (
        "analysis/record/results.py:Sample",
        "evaluation/result.py:ShownAnswer",
    ): "a run keeps one policy's answer to a prompt, and a report the answers of all arms",
    (
        "batch.py:Experience",
        "sampling/base.py:Samples",
    ): "an experience keeps what the sampler drew, beside what is made of it",
}
"""Pairs of records, `file.py:Class` in alphabetical order, that may share most of their fields, and why."""
Allowed = Mapping[str, Mapping[str, tuple[str, ...]]]
ALLOWED: Allowed = {
    "a torch or transformers model, module or configuration has what its architecture has": {
        "models/forward.py": (
            "hasattr(model, 'peft_config')",
            "hasattr(model, 'get_base_model')",
            "getattr(backbone(model), 'mixed_precision', False)",
            "getattr(config, 'final_logit_softcapping', getattr(config, 'logits_soft_cap', None))",
            "getattr(config, 'logits_soft_cap', None)",
            "getattr(config, 'logit_scale', None)",
            "getattr(config, 'logits_scaling', None)",
            "getattr(model, 'head_is_known', False)",
        ),
        "models/heads.py": (
            "hasattr(classifier, 'score')",
            "getattr(config, 'initializer_range', 0.02)",
            "hasattr(model, 'score')",
        ),
        "models/recompute.py": ("getattr(network, 'recomputes_layers', False)",),
        "models/check.py": ("getattr(config, 'auto_map', None)",),
        "models/load.py": (
            "getattr(model.config.get_text_config(), 'max_position_embeddings', None)",
            "getattr(transformers, auto)",
        ),
        "models/lora.py": (
            "hasattr(model, 'peft_config')",
            "hasattr(model, 'get_base_model')",
            "hasattr(model, 'score')",
        ),
        "models/smollm2.py": ("hasattr(model.config, 'quantization_config')",),
        "models/tokens.py": (
            "getattr(model, 'generation_config', None)",
            "getattr(generation, 'eos_token_id', None)",
            "getattr(layer, 'bias', None)",
        ),
    },
    "a module of the user or of a plugin has the names that its author gave it": {
        "targets.py": ("hasattr(loaded, part)", "vars(loaded)", "getattr(loaded, part)"),
    },
    "what the user's function returned, or the user's record held, may be anything": {
        "rewards/base.py": ("hasattr(scores, '__iter__')",),
        "testbeds/code/testbed.py": (
            "except (TypeError, ValueError, AttributeError, IndexError, RecursionError, MemoryError)",
        ),
        "testbeds/code/evidence.py": (
            "except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)",
        ),
    },
    "the sandbox's guests look into programs, which are anybody's": {
        "sandbox/guest.py": (
            "module.__dict__",
            "getattr(module, name)",
            "hasattr(module, name)",
            "getattr(getattr(module, name, None), '__module__', '')",
            "getattr(module, name, None)",
            "getattr(module, 'Solution', None)",
            "hasattr(getattr(module, 'Solution', None), name)",
            "getattr(getattr(module, owner)() if owner else module, method)",
            "getattr(module, owner)",
        ),
        "sandbox/checker.py": ("self.__dict__",),
        "sandbox/wire.py": (
            "except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)",
            "getattr(sys.modules[module], name)",
            "getattr(__import__(module), name)",
            "getattr(kind, '__slots__', ())",
            "getattr(node, name)",
            "hasattr(node, name)",
            "getattr(node, '__dict__', {})",
        ),
    },
    "PEP 562: a package's names are loaded when they are first used": {
        "__init__.py": ("getattr(importlib.import_module(module), name)",),
    },
    "the declared fields of a record, one after another": {
        "batch.py": ("getattr(self, field.name)",),
    },
}


class Import(NamedTuple):
    """`name` from `module` (both dotted, below the package; `name` empty for the module itself), as `known_as`."""

    module: str
    name: str
    known_as: str
    line: int


class Module:
    """One file: `path` below the source, `dotted` name below the package ('' for the package itself)."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.tree = ast.parse(text)
        self.dotted = path.removesuffix(".py").replace("/", ".").removesuffix("__init__").removesuffix(".")
        self.imports = list(self._imports())
        self.classes = {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}

    def _imports(self) -> Iterator[Import]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and not node.level and (module := below(node.module or "")) is not None:
                for alias in node.names:
                    yield Import(module, alias.name, alias.asname or alias.name, node.lineno)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if (module := below(alias.name)) is not None:
                        yield Import(module, "", alias.asname or alias.name, node.lineno)
            elif isinstance(node, ast.Constant) and re.fullmatch(rf"{PACKAGE}(\.\w+)+\.?(:\w+)?", str(node.value)):
                yield Import(below(str(node.value).partition(":")[0].rstrip(".")) or "", "", "", node.lineno)


def below(dotted: str) -> str | None:
    """A module's name without the package's; None for another package's module."""
    head, _, rest = dotted.partition(".")
    return rest if head == PACKAGE else None


def read_tree(source: Path) -> dict[str, Module]:
    """Every module of the tree by its dotted name."""
    paths = sorted(source.rglob("*.py"))
    modules = [Module(str(path.relative_to(source)), path.read_text(encoding="utf-8")) for path in paths]
    return {module.dotted: module for module in modules}


# -- names twice --------------------------------------------------------------------------------------------------------


def top_level(body: list[ast.stmt]) -> Iterator[tuple[str, int]]:
    """The names that statements define, those below `if`, `try` and `with` included, with their lines."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.If | ast.Try | ast.With):
            yield from top_level([inner for inner in ast.iter_child_nodes(node) if isinstance(inner, ast.stmt)])
            yield from top_level([inner for part in getattr(node, "handlers", []) for inner in part.body])
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                parts = target.elts if isinstance(target, ast.Tuple) else [target]
                yield from ((part.id, node.lineno) for part in parts if isinstance(part, ast.Name))


def twice(modules: Mapping[str, Module]) -> list[str]:
    """Public names that several modules define."""
    places: dict[str, dict[str, int]] = {}
    for module in modules.values():
        for name, line in top_level(module.tree.body):
            if not name.startswith("_"):
                places.setdefault(name, {}).setdefault(module.path, line)
    return [
        f"{name}: {', '.join(f'{path}:{line}' for path, line in where.items())}"
        for name, where in sorted(places.items())
        if len(where) > 1
    ]


# -- similar records ----------------------------------------------------------------------------------------------------


Key = tuple[str, str]  # a class: its module's dotted name and its own


def resolved(modules: Mapping[str, Module], module: Module, name: str) -> Key | None:
    """The class that a (dotted) name stands for in a module, through imports; None where it is not the package's."""
    head, _, rest = name.partition(".")
    if not rest and head in module.classes:
        return module.dotted, head
    for item in module.imports:
        if item.known_as != head:
            continue
        inner = ".".join(filter(None, (item.module, item.name)))
        if rest and inner in modules:
            return resolved(modules, modules[inner], rest)
        if not rest and item.module in modules and modules[item.module] is not module:
            return resolved(modules, modules[item.module], item.name)
    return None


def family(modules: Mapping[str, Module], key: Key) -> list[Key | str]:
    """A class and all that it derives from, nearest first; a class from elsewhere by its last name."""
    members: list[Key | str] = [key]
    for base in modules[key[0]].classes[key[1]].bases:
        name = ast.unparse(base.value if isinstance(base, ast.Subscript) else base)
        parent = resolved(modules, modules[key[0]], name)
        members += [name.rpartition(".")[2]] if parent is None else family(modules, parent)
    return list(dict.fromkeys(members))


def fields_of(modules: Mapping[str, Module], key: Key) -> dict[str, Key]:
    """A record's annotated fields, each with its type, and the class that defines it; empty where the class is not a record."""
    members = family(modules, key)
    own = [(member, modules[member[0]].classes[member[1]]) for member in members if isinstance(member, tuple)]
    decorators = [ast.unparse(decorator) for _, node in own for decorator in node.decorator_list]
    if not {"BaseModel", "NamedTuple"} & {member for member in members if isinstance(member, str)} and not any(
        decorator.startswith(("dataclass", "dataclasses.dataclass")) for decorator in decorators
    ):
        return {}
    fields: dict[str, Key] = {}
    for member, node in own:
        for item in node.body:
            if (
                isinstance(item, ast.AnnAssign)
                and isinstance(item.target, ast.Name)
                and "ClassVar" not in ast.unparse(item.annotation)
            ):
                fields.setdefault(f"{item.target.id}: {ast.unparse(item.annotation)}", member)
    return {name: owner for name, owner in fields.items() if not name.startswith("kind:")}


def is_method(modules: Mapping[str, Module], key: Key) -> bool:
    """Whether a class is the spec of a training method."""
    return any(member[1] == "Method" for member in family(modules, key) if isinstance(member, tuple))


def similar(modules: Mapping[str, Module], alike: Mapping[tuple[str, str], str] = ALIKE) -> list[str]:
    """Pairs of records that share most of their fields, but for those that may; and what may but does not."""
    keys = [(module.dotted, name) for module in modules.values() for name in module.classes]
    records = {key: fields for key in keys if (fields := fields_of(modules, key))}
    unused = set(alike)
    lines: list[str] = []
    for (one, first), (other, second) in combinations(records.items(), 2):
        shared = [name for name, owner in first.items() if name in second and second[name] != owner]
        if len(shared) < LEAST_SHARED or 2 * len(shared) <= min(len(first), len(second)):
            continue
        pair = tuple(sorted(f"{modules[module].path}:{name}" for module, name in (one, other)))
        unused -= {pair}
        if pair not in alike and not (is_method(modules, one) and is_method(modules, other)):
            lines.append(f"{' and '.join(pair)}: {', '.join(name.partition(':')[0] for name in shared)}")
    return lines + [f"{' and '.join(pair)}: in ALIKE, but they are not similar" for pair in sorted(unused)]


# -- guesses ------------------------------------------------------------------------------------------------------------


def guess_at(node: ast.AST) -> str:
    """The text of a guess about what an object has; empty where a node is none."""
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("getattr", "hasattr", "vars")
    ):
        return ast.unparse(node)
    if isinstance(node, ast.Attribute) and node.attr == "__dict__":
        return ast.unparse(node)
    if isinstance(node, ast.ExceptHandler) and node.type is not None and "AttributeError" in ast.unparse(node.type):
        return f"except {ast.unparse(node.type)}"
    return ""


def guesses(modules: Mapping[str, Module], allowed: Allowed = ALLOWED) -> list[str]:
    """Guesses that nothing allows, and what is allowed but is not there."""
    unused = {(path, text) for files in allowed.values() for path, texts in files.items() for text in texts}
    permitted = frozenset(unused)
    lines: list[str] = []
    for module in modules.values():
        nodes = (node for node in ast.walk(module.tree) if isinstance(node, ast.expr | ast.ExceptHandler))
        places = [(node.lineno, text) for node in nodes if (text := guess_at(node))]
        unused -= {(module.path, text) for _, text in places}
        lines += [
            f"{module.path}:{line}: {text}" for line, text in sorted(places) if (module.path, text) not in permitted
        ]
    return lines + [f"{path}: `{text}` is in ALLOWED, but is not there" for path, text in sorted(unused)]


# -- circles ------------------------------------------------------------------------------------------------------------


def edges(modules: Mapping[str, Module]) -> dict[str, dict[str, str]]:
    """The packages that each package imports, with the first place where it does."""
    imported: dict[str, dict[str, str]] = {}
    for module in modules.values():
        unit = module.dotted.partition(".")[0]
        for item in module.imports:
            target = item.module if item.module or item.name not in modules else item.name
            other = target.partition(".")[0]
            if other and unit and other != unit:
                imported.setdefault(unit, {}).setdefault(other, f"{module.path}:{item.line}")
    return imported


def way(graph: Mapping[str, Mapping[str, str]], start: str, end: str) -> list[str]:
    """The shortest way of imports from one package to another; empty where there is none."""
    ways = [[start]]
    reached = {start}
    for path in ways:  # grows while it is read: breadth first
        for after in graph.get(path[-1], {}):
            if after == end:
                return [*path, after]
            if after not in reached:
                reached.add(after)
                ways.append([*path, after])
    return []


def circles(modules: Mapping[str, Module]) -> list[str]:
    """Pairs of packages that import each other, with the places."""
    graph = edges(modules)
    lines: list[str] = []
    for one, other in combinations(sorted(graph), 2):
        there, back = way(graph, one, other), way(graph, other, one)
        if there and back:
            around = [*there, *back[1:]]
            steps = [f"{a} -> {b} ({graph[a][b]})" for a, b in pairwise(around)]
            lines.append("; ".join(steps))
    return lines


def lists(source: Path) -> dict[str, list[str]]:
    """The four lists of a source tree."""
    modules = read_tree(source)
    return {
        "twice": twice(modules),
        "similar": similar(modules),
        "guesses": guesses(modules),
        "circles": circles(modules),
    }


def main(arguments: list[str]) -> int:
    listed = lists(SOURCE)
    if "--table" in arguments:
        print("\n".join(f"| {TITLES[name]} | {BEFORE[name]} | {len(lines)} |" for name, lines in listed.items()))
        return 0
    for name, lines in listed.items():
        print(f"{TITLES[name]}: {len(lines)}")
        print("".join(f"  {line}\n" for line in lines), end="")
    return 1 if any(listed.values()) and "--report" not in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
