"""Prints the five walks of a reader through src/preflab, counts them, and checks them.

A walk (see `walks.py`) is a list of stops, in the order in which a reader meets them. Counted are its stops, its files,
the lines of these files that are neither blank nor part of a docstring, its hops (from one file to another) and its
climbs: the hops back to a file that the walk had already left.

Checked by names in the syntax tree: every stop exists, and every stop but the first is called, or handed on as a
function, by an earlier stop or by a helper in an earlier stop's file. Exit code 1 if that fails or a count exceeds its
limit. `--table` prints the counts as docs/walks.md shows them.
"""

from __future__ import annotations

import ast
import sys
from itertools import pairwise
from pathlib import Path

from walks import WALKS, Counts, Stop, Walk

SOURCE = Path(__file__).resolve().parent.parent / "src" / "preflab"
Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef


class Module:
    """One file: its definitions by `name` or `Class.name`, and its tables: what module-level names hold."""

    def __init__(self, text: str) -> None:
        tree = ast.parse(text)
        self.definitions: dict[str, Definition] = {}
        self.tables: dict[str, ast.expr] = {}
        for node in tree.body:
            if isinstance(node, Definition):
                self.definitions[node.name] = node
            if isinstance(node, ast.ClassDef):
                self.definitions |= {
                    f"{node.name}.{item.name}": item for item in node.body if isinstance(item, Function)
                }
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                self.tables |= {target.id: node.value for target in targets if isinstance(target, ast.Name)}
        self.lines = count_lines(text, tree)

    def reach(self, definition: str) -> set[str]:
        """Names called by a definition, by the helpers of its own file that it calls, and so on."""
        reached: set[str] = set()
        visited: set[ast.AST] = set()
        waiting: list[ast.AST] = [self.definitions[definition]]
        while waiting:
            node = waiting.pop()
            if node in visited:
                continue
            visited.add(node)
            names = called_names(node)
            reached |= names
            waiting += [helper for name, helper in self.definitions.items() if name_of(name) in names]
            waiting += [table for name, table in self.tables.items() if name in names]
        return reached


def name_of(definition: str) -> str:
    """What a caller writes: a method's own name, and the class's for the method that makes its objects."""
    owner, _, name = definition.rpartition(".")
    return owner if name == "__init__" else name


def called_names(node: ast.AST) -> set[str]:
    """Names that are called below a node (`f(...)`, `x.f(...)`, `table[key](...)`), handed on (`partial(f)`, `{"a": f}`), or
    the bases of a class, which a reader of it reads too."""
    names: set[str] = set()
    for item in ast.walk(node):
        parts: list[ast.expr | None] = []
        if isinstance(item, ast.Call):
            parts = [item.func, *item.args, *(keyword.value for keyword in item.keywords)]
            if isinstance(item.func, ast.Attribute | ast.Subscript):
                parts.append(item.func.value)
        elif isinstance(item, ast.ClassDef):
            parts = [*item.bases]
        elif isinstance(item, ast.Dict):
            parts = [
                part for value in item.values for part in (value.elts if isinstance(value, ast.Tuple) else [value])
            ]
        names |= {part.id for part in parts if isinstance(part, ast.Name)}
        names |= {part.attr for part in parts if isinstance(part, ast.Attribute)}
    return names


def count_lines(text: str, tree: ast.Module) -> int:
    """Lines that are neither blank nor part of a docstring."""
    documented: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | Definition) and ast.get_docstring(node, clean=False) is not None:
            documented |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return sum(1 for number, line in enumerate(text.splitlines(), 1) if line.strip() and number not in documented)


def modules_of(walk: Walk, source: Path) -> dict[str, Module]:
    """The files of a walk that exist."""
    paths = {stop.file: source / stop.file for stop in walk.stops}
    return {file: Module(path.read_text(encoding="utf-8")) for file, path in paths.items() if path.is_file()}


def count(walk: Walk, modules: dict[str, Module]) -> Counts:
    """The walk's counts; a file that does not exist has no lines."""
    files = [stop.file for stop in walk.stops]
    visits = files[:1] + [after for before, after in pairwise(files) if before != after]
    lines = sum(module.lines for module in modules.values())
    distinct = len(set(files))
    return Counts(len(files), distinct, lines, hops=len(visits) - 1, climbs=len(visits) - distinct)


def faults(walk: Walk, modules: dict[str, Module]) -> list[str]:
    """The stops that do not exist, or that no earlier stop calls, one line each."""
    lines: list[str] = []
    reached: set[str] = set()
    for place, stop in enumerate(walk.stops):
        if stop.file not in modules:
            lines.append(f"there is no file {stop.file}")
        elif stop.definition not in modules[stop.file].definitions:
            lines.append(f"there is no {stop.definition} in {stop.file}")
        else:
            name = stop.called_as or name_of(stop.definition)
            if place and name not in reached:
                lines.append(f"no earlier stop calls {name} ({stop.file}: {stop.definition})")
            reached |= modules[stop.file].reach(stop.definition)
    return list(dict.fromkeys(lines))


def check(walk: Walk, source: Path) -> list[str]:
    """Prints a walk; returns what is wrong with it, one line each."""
    modules = modules_of(walk, source)
    counts = count(walk, modules)
    print(f"{walk.name}: {walk.title}")
    left: set[str] = set()
    before: Stop | None = None
    for stop in walk.stops:
        if before is None or before.file != stop.file:
            print(f"  {stop.file}{'  (climbs back)' if stop.file in left else ''}")
            left.add(stop.file)
        print(f"      {stop.definition}")
        before = stop
    limits = walk.limits._asdict()
    print("  " + ", ".join(f"{noun} {number} (at most {limits[noun]})" for noun, number in counts._asdict().items()))
    excesses = [
        f"{number} {noun}, at most {limits[noun]}" for noun, number in counts._asdict().items() if number > limits[noun]
    ]
    return faults(walk, modules) + excesses


def table(walks: tuple[Walk, ...], source: Path) -> str:
    """The Markdown table of docs/walks.md: each walk's counts before the reorganisation, and now."""
    rows = ["| walk | count | before | now |", "|---|---|--:|--:|"]
    for walk in walks:
        now = count(walk, modules_of(walk, source))
        pairs = zip(Counts._fields, walk.before, now, strict=True)
        rows += [f"| {walk.name} | {noun} | {then:,} | {number:,} |" for noun, then, number in pairs]
    return "\n".join(rows)


def main(arguments: list[str]) -> int:
    if arguments == ["--table"]:
        print(table(WALKS, SOURCE))
        lines = [f"{walk.name}: {line}" for walk in WALKS for line in faults(walk, modules_of(walk, SOURCE))]
    else:
        lines = [f"{walk.name}: {line}" for walk in WALKS for line in check(walk, SOURCE)]
    print("\n".join(lines), file=sys.stderr, end="\n" if lines else "")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
