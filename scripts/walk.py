"""Prints the two walks of a reader: from a preference pair, and from a rollout, to the step that learns from it.

A walk lists the functions that the data passes through. A hop leads from one file to the next function's file; a helper
in the same file is no hop, because the reader does not leave the page. A step that carries weights instead of data (the
reference that follows the policy) adds its file and its lines, no hop. Lines are those that are neither blank nor part
of a docstring; run directory, logging and checkpoints are not on the way.

Checked by names in the syntax tree: every function exists, and each but the entry is called by a function on the walk
or by a helper in its file. Exit code 1 if that fails or a limit is exceeded.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src" / "preflab"
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Step:
    """One function on the way: `file` below src/preflab, `function` as `name` or `Class.name`."""

    file: str
    function: str
    called_as: str = ""  # the name in the caller's text, where it differs from the function's own
    weights: bool = False  # carries weights, not data

    @property
    def name(self) -> str:
        return self.called_as or self.function.rpartition(".")[2]


@dataclass(frozen=True)
class Walk:
    title: str
    entry: str  # the function of the step where the walk is entered, called by nobody on it
    steps: tuple[Step, ...]
    most_files: int
    most_lines: int
    most_hops: int


WALKS = (
    Walk(
        title="PPO: one rollout",
        entry="PPO.train",
        steps=(
            Step("methods/ppo.py", "PPO.train"),
            Step("methods/rollout.py", "roll_out"),
            Step("sampling/native.py", "NativeSampler.sample"),
            Step("rewards/tests.py", "TestReward.score"),
            Step("models/forward.py", "token_logprobs"),
            Step("ops.py", "gae"),
            Step("methods/surrogate.py", "actor_terms"),
            Step("losses/policy.py", "ppo_policy_loss"),
            Step("train/learner.py", "Learner.step"),
            Step("models/reference.py", "Reference.follow", weights=True),
        ),
        most_files=10,
        most_lines=1500,
        # Two more than PPO alone would need: `roll_out` and `actor_terms` are written once for every method that
        # learns from its own samples, and stand in files of their own.
        most_hops=8,
    ),
    Walk(
        title="DPO: one preference pair",
        entry="DPO.train",
        steps=(
            Step("testbeds/minicode/testbed.py", "OpenMinicode.preferences"),
            Step("batch.py", "collate_pairs"),
            Step("methods/dpo.py", "DPO.train"),
            Step("models/forward.py", "sequence_logprobs"),
            Step("models/forward.py", "token_logprobs"),
            Step("losses/preference.py", "dpo_loss", called_as="preference_loss"),  # by its name in the spec
            Step("train/learner.py", "Learner.step"),
        ),
        most_files=6,
        most_lines=900,
        most_hops=5,
    ),
)


def functions(tree: ast.Module) -> dict[str, Function]:
    """Functions and methods of a module by `name` or `Class.name`."""
    found: dict[str, Function] = {}
    for node in tree.body:
        if isinstance(node, Function):
            found[node.name] = node
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{item.name}": item for item in node.body if isinstance(item, Function)}
    return found


def called_names(node: ast.AST) -> set[str]:
    """Names that are called below a node, or handed on as functions (`partial(f)`): `f(...)`, `x.f(...)`."""
    names: set[str] = set()
    for call in (item for item in ast.walk(node) if isinstance(item, ast.Call)):
        for item in (call.func, *call.args, *(keyword.value for keyword in call.keywords)):
            if isinstance(item, ast.Name):
                names.add(item.id)
            elif isinstance(item, ast.Attribute):
                names.add(item.attr)
    return names


def reach(tree: ast.Module, function: str) -> set[str]:
    """Names called by a function, and by the helpers of its own file that it calls, and so on."""
    local = functions(tree)
    seen: set[str] = set()
    names: set[str] = set()
    waiting = [function]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        called = called_names(local[current])
        names |= called
        waiting += [key for key in local if key.rpartition(".")[2] in called]
    return names


def count_lines(text: str, tree: ast.Module) -> int:
    """Lines that are neither blank nor part of a docstring."""
    documented: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | Function) and ast.get_docstring(node, clean=False) is not None:
            documented |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return sum(1 for number, line in enumerate(text.splitlines(), 1) if line.strip() and number not in documented)


def check(walk: Walk, source: Path) -> list[str]:
    """Prints a walk; what is wrong with it, one line each."""
    files = list(dict.fromkeys(step.file for step in walk.steps))
    missing = [f"there is no {file}" for file in files if not (source / file).is_file()]
    if missing:
        return missing
    texts = {file: (source / file).read_text(encoding="utf-8") for file in files}
    trees = {file: ast.parse(text) for file, text in texts.items()}
    missing = [
        f"no {step.function} in {step.file}" for step in walk.steps if step.function not in functions(trees[step.file])
    ]
    if missing:
        return missing
    reached = {step: reach(trees[step.file], step.function) for step in walk.steps}
    wrong = [
        f"nothing on the walk calls {step.name} ({step.file})"
        for step in walk.steps
        if step.function != walk.entry and not any(step.name in reached[other] for other in walk.steps if other != step)
    ]
    lines = {file: count_lines(texts[file], trees[file]) for file in files}
    data = [step.file for step in walk.steps if not step.weights]
    hops = sum(before != after for before, after in pairwise(data))
    print(f"{walk.title}\n  " + "\n  -> ".join(f"{step.file}:{step.function}" for step in walk.steps))
    for noun, found, most in (
        ("files", len(files), walk.most_files),
        ("lines", sum(lines.values()), walk.most_lines),
        ("hops", hops, walk.most_hops),
    ):
        print(f"  {noun}: {found} (at most {most})")
        if found > most:
            wrong.append(f"{found} {noun}, at most {most}")
    print("  " + ", ".join(f"{file} {count}" for file, count in lines.items()))
    return wrong


def main() -> int:
    wrong = [f"{walk.title}: {line}" for walk in WALKS for line in check(walk, SOURCE)]
    print("\n".join(wrong), file=sys.stderr, end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
