"""The real data beside the repository, counted by `data check` and by a program that shares no code with preflab."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from preflab.cli.data_text import describe_check
from preflab.data.files import list_splits, read_source
from preflab.data.reading import FileReading
from preflab.data.source_check import SourceCheck, check_source
from preflab.testbeds.code.known import read_problem

Counts = dict[str, int]


def load(path: Path) -> list[dict[str, Any]]:
    """The records of a file of JSON or JSON lines."""
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text(encoding="utf-8")
    return (
        json.loads(text)
        if text.lstrip().startswith("[")
        else [json.loads(line) for line in text.split("\n") if line.strip()]
    )


def split_dialogue(text: str) -> list[tuple[str, str]]:
    """The speakers and what they say, stripped, of one of HH-RLHF's strings."""
    parts = re.split(r"(?:^|\n\n)(Human|Assistant):", text)[1:]
    return [(parts[n], parts[n + 1].strip()) for n in range(0, len(parts), 2)]


def join_humans(turns: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Turns of one speaker in a row as one."""
    joined: list[tuple[str, str]] = []
    for who, text in turns:
        if joined and joined[-1][0] == who:
            joined[-1] = who, f"{joined[-1][1]}\n\n{text}".strip()
        else:
            joined.append((who, text))
    return joined


def list_pairs(record: dict[str, Any]) -> list[tuple[Any, str, str]]:
    """The prompt, the better and the worse answer of a record of preferences; none where it is of no use."""
    if isinstance(record.get("chosen"), str):  # HH-RLHF
        good, bad = split_dialogue(record["chosen"]), split_dialogue(record["rejected"])
        prompt = join_humans(good[:-1])
        ends = good[-1][0] == bad[-1][0] == "Assistant" and bool(prompt) and prompt[-1][0] == "Human"
        return [(str(prompt), good[-1][1], bad[-1][1])] if ends and good[:-1] == bad[:-1] else []
    if "better_response_id" in record:
        answers = record["response_0"], record["response_1"]
        return [(record["prompt"], answers[record["better_response_id"]], answers[1 - record["better_response_id"]])]
    if "output_1" in record:
        answers = record["output_1"], record["output_2"]
        return [(record["input"], answers[record["label"] - 1], answers[2 - record["label"]])]
    return [(record["prompt"], *record["response"])]


def count_pairs(records: list[dict[str, Any]]) -> Counts:
    """The counts of a file of preferences."""
    pairs = [pair for record in records for pair in list_pairs(record)]
    longer = sum(len(good) > len(bad) for _, good, bad in pairs)
    shorter = sum(len(good) < len(bad) for _, good, bad in pairs)
    return {
        "records": len(records),
        "usable": len(pairs),
        "prompts": len({prompt for prompt, _, _ in pairs}),
        "demonstrations": len(pairs),
        "pairs": len(pairs),
        "same": sum(good == bad for _, good, bad in pairs),
        "empty": sum(not good.strip() or not bad.strip() for _, good, bad in pairs),
        "repeated": len(pairs) - len(set(pairs)),
        "longer per mille": round(1000 * longer / (longer + shorter)),
    }


def count_answers(records: list[dict[str, Any]]) -> Counts:
    """The counts of a file of questions with an answer, or without."""
    rows: list[tuple[str, str | None]] = []
    for record in records:
        question = record.get("prompt") or record.get("instruction") or record["turns"][0]
        more = "\n\n" + record["input"] if record.get("input") else ""
        rows.append((question + more, record.get("output", record.get("response"))))
    answered = [row for row in rows if row[1] is not None]
    return {
        "records": len(records),
        "usable": len(rows),
        "prompts": len({question for question, _ in rows}),
        "demonstrations": len(answered),
        "pairs": 0,
        "same": 0,
        "empty": sum(not answer.strip() for _, answer in answered if answer is not None),
        "repeated": len(rows) - len(set(rows)),
    }


def data_files(folder: Path) -> Iterator[Path]:
    """Every file of records: not the folders of APPS' official problems, and not plain text."""
    for path in sorted(folder.rglob("*.json*")):
        if "apps/train" not in path.as_posix():
            yield path


def check(path: Path) -> SourceCheck:
    return check_source(
        str(path), read_source(str(path)), FileReading(None, partial(read_problem, {}, False), tested=True)
    )


def seen(checked: SourceCheck, names: Counts) -> Counts:
    """The same counts, by preflab."""
    faults = {name: fault.count for name, fault in checked.faults.items()}
    counts = {
        "records": checked.records,
        "usable": checked.usable,
        "prompts": checked.kinds["prompts"],
        "demonstrations": checked.kinds.get("demonstrations", 0),
        "pairs": checked.kinds.get("pairs", 0),
        "same": faults.get("chosen and rejected are the same", 0),
        "empty": faults.get("an answer is empty", 0),
        "repeated": faults.get("it repeats an earlier record", 0),
        "longer per mille": round(1000 * (checked.longer_wins or 0)),
    }
    return {name: counts[name] for name in names}


def test_counts_agree_on_every_file(shared_data: Path) -> None:
    """Protects the reading of real files: an independent count of each, of preferences, of answers and prompts, agrees."""
    programs = 0
    for path in data_files(shared_data):
        records = load(path)
        if records[0].keys() & {"test", "tests", "test_list"}:
            checked = check(path)
            assert checked.records == checked.usable == len(records) and not checked.broken.count, path
            assert checked.kinds["problems with tests"] >= len(records) - 60, path
            programs += len(records)
            continue
        two = records[0].keys() & {"chosen", "better_response_id", "output_1"} or isinstance(
            records[0].get("response"), list
        )
        counts = (count_pairs if two else count_answers)(records)
        assert seen(check(path), counts) == counts, path
    assert programs == 77 + 135 + 20 + 802 + 164 + 1514


def test_the_totals_of_the_data(shared_data: Path) -> None:
    """Protects from reading the wrong files: the sums that the data's own description states."""
    folder = shared_data / "hh-rlhf"
    assert sum(len(load(path)) for path in data_files(folder)) == 6164 + 706
    assert sum(check(path).kinds["pairs"] for path in data_files(shared_data / "llmbar")) == 419


def test_the_official_folders_of_apps(shared_data: Path) -> None:
    """Protects problems that are folders of files: each is one record, with its statement, tests and solutions."""
    for folder, split in ((shared_data / "apps" / "train", "train"), (shared_data / "apps", "train")):
        assert list_splits(str(folder)) == [split]
        checked = check(folder)
        solutions = sum(len(json.loads(path.read_text())) for path in sorted(folder.rglob("solutions.json")))
        assert (checked.records, checked.usable, checked.kinds["problems with tests"]) == (5, 5, solutions)
        assert checked.kinds["demonstrations"] == solutions and checked.kinds["prompts"] == 5


def test_the_safety_labels_of_saferlhf(shared_data: Path) -> None:
    """Protects what a cost model learns from: `data check` counts the pairs with two, one and no safe response, and its text
    says it; every field but the other label is read."""
    path = shared_data / "pku-saferlhf" / "official_rows.jsonl.gz"
    checked = check(path)
    safe = [row["is_response_0_safe"] + row["is_response_1_safe"] for row in load(path)]
    counted = {"both safe": safe.count(2), "one safe": safe.count(1), "both unsafe": safe.count(0)}
    assert checked.safety == counted == {"both safe": 11, "one safe": 5, "both unsafe": 16}
    assert checked.unread == {"safer_response_id": 32}
    text = "\n".join(describe_check(checked, None))
    assert "  answers of a pair: 16 both unsafe, 11 both safe, 5 one safe" in text


def test_the_other_label_of_saferlhf(shared_data: Path) -> None:
    """Protects rows with two labels: `fields` chooses the safer answer in place of the better one, which turns exactly those
    pairs whose labels differ."""
    path = shared_data / "pku-saferlhf" / "official_rows.jsonl.gz"
    safer = {"better_response_id": "safer_response_id"}
    rows = [[row for _, row in FileReading(names).read_rows(read_source(str(path)))] for names in (None, safer)]
    turned = [one.answer == other.rejected for one, other in zip(*rows, strict=True)]
    assert turned == [record["better_response_id"] != record["safer_response_id"] for record in load(path)]
    assert any(turned) and not all(turned)
