"""A tiny data set, files of answers, and what every test of a contest needs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PROMPTS = 40


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_data(folder: Path, count: int = PROMPTS) -> list[str]:
    """Writes pairs with `count` test prompts. Returns the words of a command line that name the testbed."""
    rows = [
        {"prompt": f"Question {n}?", "chosen": f"good chosen {n}", "rejected": f"bad rejected {n}"}
        for n in range(count)
    ]
    test = write_lines(folder / "test.jsonl", rows)
    train, validation = (
        write_lines(folder / f"{name}.jsonl", [{"prompt": name, "chosen": "x", "rejected": "y"}])
        for name in ("train", "validation")
    )
    named = ("--testbed.test", str(test), "--testbed.validation", str(validation))
    return ["--testbed", "jsonl", "--data", str(train), *named]


def write_answers(path: Path, words: str, numbers: Iterable[int] = range(PROMPTS)) -> Path:
    return write_lines(path, [{"prompt": f"Question {n}?", "answer": f"{words} {n}"} for n in numbers])
