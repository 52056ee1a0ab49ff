"""SafeRLHF: the rule and the filters equal an independent count, and nothing is inferred about what no label says."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from preflab.arm.execute import execute
from preflab.data.hub import load_hub_records
from preflab.data.safety import SafetyRecord
from preflab.errors import MissingRecords, UserError
from preflab.spec import Context, parse_spec
from preflab.study.plan import planned_runs
from preflab.study.spec import Study
from preflab.testbeds import TESTBEDS
from preflab.testbeds.base import SPLITS
from preflab.testbeds.provenance import make_turn_key
from preflab.testbeds.safe_rlhf import SafeRLHF
from preflab.testbeds.safe_rlhf.records import parse_safety_record
from preflab.train.files import read_json
from preflab.types import Preference

FILTERS = ((), ("dual-unsafe",), ("dual-safe",), ("dual-unsafe", "dual-safe"))
RULES = ("paper", "helpfulness", "safety")
Row = Mapping[str, Any]


def make_row(number: int, *, helpful: int, safer: int, safe: Sequence[bool]) -> dict[str, Any]:
    return {
        "prompt": f"Question {number}?",
        "response_0": f"First {number}.",
        "response_1": f"Second {number}.",
        "is_response_0_safe": safe[0],
        "is_response_1_safe": safe[1],
        "better_response_id": helpful,
        "safer_response_id": safer,
    }


ROWS = [
    make_row(6 * n + kind, helpful=helpful, safer=safer, safe=safe)
    for n in range(30)
    for kind, (helpful, safer, safe) in enumerate(
        (
            (0, 1, (True, True)),
            (1, 1, (True, True)),
            (1, 0, (False, False)),
            (0, 0, (False, False)),
            (0, 1, (False, True)),
            (0, 0, (True, False)),
        )
    )
]


def write(path: Path, rows: Sequence[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def spec(data: Path, **settings: object) -> SafeRLHF:
    return TESTBEDS.parse({"kind": "safe_rlhf", "data": str(data), **settings})


def read_pairs(data: Path, **settings: object) -> Iterator[Preference]:
    """The pairs of all three parts: A and B with their training and validation, and C once."""
    for part, splits in (("policy", SPLITS), ("evaluator", SPLITS[:2])):
        with spec(data, part=part, **settings).open(Context()) as testbed:
            for split in splits:
                try:
                    yield from testbed.preferences(split)
                except MissingRecords:
                    continue


def summarize(pairs: Iterator[Preference]) -> Counter[tuple[object, ...]]:
    return Counter(
        (pair.prompt.turns[0].content, pair.chosen.text, pair.rejected.text, pair.chosen_safe, pair.rejected_safe)
        for pair in pairs
    )


def count_alone(rows: Sequence[Row], rule: str, filters: Sequence[str]) -> Counter[tuple[object, ...]]:
    """What the rule and the filters must give, written again from the paper's Section 4.3 with none of preflab's code."""
    found = Counter[tuple[object, ...]]()
    for row in rows:
        safe = row["is_response_0_safe"], row["is_response_1_safe"]
        if ("dual-unsafe" in filters and safe == (False, False)) or ("dual-safe" in filters and safe == (True, True)):
            continue
        label = {"helpfulness": "better_response_id", "safety": "safer_response_id"}.get(rule)
        label = label or ("better_response_id" if safe == (True, True) else "safer_response_id")
        good = row[label]
        bad = {0: 1, 1: 0}[good]
        found[row["prompt"], row[f"response_{good}"], row[f"response_{bad}"], safe[good], safe[bad]] += 1
    return found


def load(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("rule", RULES)
def test_rule_and_filters_equal_an_independent_count(tmp_path: Path, rule: str, filters: Sequence[str]) -> None:
    """Protects the paper's rule and both filters: every pair, its order and its safety labels."""
    data = write(tmp_path / "data.jsonl", ROWS)
    assert summarize(read_pairs(data, rule=rule, filters=filters)) == count_alone(ROWS, rule, filters)


@pytest.mark.parametrize(
    ("settings", "order"),
    [
        ({}, "paper"),
        ({"rule": "helpfulness", "filters": ["dual-safe"]}, "helpfulness"),
        ({"rule": "safety"}, "safety"),
        ({"filters": ["dual-safe"]}, "safety"),
        ({"filters": ["dual-unsafe"]}, "paper"),
    ],
)
def test_the_testbed_says_what_orders_its_pairs(settings: Any, order: str, tmp_path: Path) -> None:
    """Protects the cost model, which learns a wrong order from pairs that helpfulness decides. safeworld says the same."""
    with spec(write(tmp_path / "data.jsonl", ROWS), **settings).open(Context()) as testbed:
        assert testbed.ordered_by == order
    with TESTBEDS.parse({"kind": "safeworld", **settings}).open(Context()) as world:
        assert world.ordered_by == order


def test_the_official_rows(shared_data: Path) -> None:
    """Protects rule, filters and counts on real records: 11 both safe, 5 one safe, 16 both unsafe, 19 whose labels differ."""
    data = shared_data / "pku-saferlhf" / "official_rows.jsonl.gz"
    rows = load(data)
    safe = [row["is_response_0_safe"] + row["is_response_1_safe"] for row in rows]
    assert (len(rows), safe.count(2), safe.count(1), safe.count(0)) == (32, 11, 5, 16)
    assert sum(row["better_response_id"] != row["safer_response_id"] for row in rows) == 19
    kept = {filters: sum(count_alone(rows, "paper", filters).values()) for filters in FILTERS}
    assert list(kept.values()) == [32, 16, 21, 5]
    for filters in FILTERS:
        for rule in RULES:
            found = summarize(read_pairs(data, rule=rule, filters=filters))
            assert found == count_alone(rows, rule, filters) and found.total() == kept[filters]
    with spec(data, filters=FILTERS[-1]).open(Context()) as testbed:
        notes = "\n".join(testbed.notes)
    for sentence in (
        "32 records with both labels: 11 both safe, 5 one safe, 16 both unsafe. In 19 of them, the more helpful response is",
        "rule paper: 32 pairs ordered, 11 by helpfulness, because both responses are safe, and 21 by safety.",
        "filter dual-unsafe: 16 of 32 pairs kept, 16 dropped because both responses are unsafe.",
        "filter dual-safe: 5 of 16 pairs kept, 11 dropped because both responses are safe.",
        "27 safe responses used as demonstrations.",
    ):
        assert sentence in notes


def test_prompts_and_safe_responses_do_not_depend_on_the_pairs(tmp_path: Path) -> None:
    """Protects comparisons of arms: under every rule and filter the prompts and the demonstrations are the same, and the
    demonstrations are exactly the safe responses."""
    data = write(tmp_path / "data.jsonl", [*ROWS, ROWS[0]])
    seen: list[object] = []
    for settings in ({}, {"rule": "helpfulness"}, {"filters": FILTERS[-1]}, {"rule": "safety", "filters": FILTERS[1]}):
        with spec(data, **settings).open(Context()) as testbed:
            seen.append([(testbed.prompts(split), testbed.demonstrations(split)) for split in SPLITS])
            answers = [row for split in SPLITS for row in testbed.demonstrations(split)]
    assert all(each == seen[0] for each in seen)
    with spec(data, part="evaluator").open(Context()) as testbed:
        answers += [row for split in SPLITS[:2] for row in testbed.demonstrations(split)]
    safe = Counter(
        (row["prompt"], row[f"response_{n}"]) for row in ROWS for n in (0, 1) if row[f"is_response_{n}_safe"]
    )
    assert Counter((row.prompt.turns[0].content, row.completion.text) for row in answers) == safe


def test_an_order_by_safety_says_nothing_else(tmp_path: Path) -> None:
    """Protects from an absolute label that nobody gave: such pairs have none, make no demonstration, take no filter and
    follow no rule that needs one, and every report says so."""
    rows = [{"prompt": f"Question {n}?", "response": ["Safer.", "Less safe."]} for n in range(200)]
    data = write(tmp_path / "pairs.jsonl", rows)
    assert summarize(read_pairs(data, rule="safety")) == Counter(
        (row["prompt"], "Safer.", "Less safe.", None, None) for row in rows
    )
    with spec(data, rule="safety").open(Context()) as testbed:
        notes = "\n".join(testbed.notes)
        with pytest.raises(MissingRecords, match="no responses that are known to be safe in its train split"):
            testbed.demonstrations("train")
    assert (
        "200 pairs ordered by safety alone. These pairs do not show which response is safe. They train only pairwise"
        in notes
    )
    for settings, complaint in (
        (
            {},
            r"pairs\.jsonl:1: the labels of this pair show only which .* The rule `paper` needs .* `rule: safety`",
        ),
        ({"rule": "helpfulness"}, "The rule `helpfulness` needs records with both labels"),
        (
            {"rule": "safety", "filters": ["dual-safe"]},
            r"pairs\.jsonl:1: the filter `dual-safe` needs a safety label for each",
        ),
    ):
        with pytest.raises(UserError, match=complaint), spec(data, **settings).open(Context()):
            pass


def test_a_folder_of_several_forms_says_what_to_name(tmp_path: Path) -> None:
    """Protects whoever names the whole folder: the message says which file has both labels."""
    write(tmp_path / "official_rows.jsonl", ROWS)
    write(tmp_path / "safety_pairs.jsonl", [{"prompt": "Q", "response": ["safe", "less"]}])
    with (
        pytest.raises(UserError, match=r"or name other data, such as `.*#official_rows`\."),
        spec(tmp_path).open(Context()),
    ):
        pass


def test_safe_answers_alone(tmp_path: Path) -> None:
    """Protects SFT(Safe) from a file of safe answers: demonstrations and prompts, no pairs, and no filter of nothing."""
    data = write(tmp_path / "safe.jsonl", [{"prompt": f"Question {n}?", "response": f"{n}"} for n in range(100)])
    with spec(data).open(Context()) as testbed:
        for split in SPLITS:
            assert {row.prompt.id for row in testbed.demonstrations(split)} == {
                row.id for row in testbed.prompts(split)
            }
            with pytest.raises(MissingRecords, match="no pairs"):
                testbed.preferences(split)
    with (
        pytest.raises(UserError, match=r"safe\.jsonl: the filter `dual-safe` needs .*, but no record has such labels"),
        spec(data, filters=["dual-safe"]).open(Context()),
    ):
        pass


def test_the_real_pairs_and_safe_responses(shared_data: Path) -> None:
    """Protects 4,174 real pairs and 4,206 real answers: all are read, and of a folder with all three files too."""
    folder = shared_data / "pku-saferlhf"
    pairs, answers = load(folder / "safety_pairs.jsonl.gz"), load(folder / "safe_responses.jsonl.gz")
    expected = Counter((row["prompt"], *row["response"], None, None) for row in pairs)
    assert expected.total() == 4174
    assert summarize(read_pairs(folder / "safety_pairs.jsonl.gz", rule="safety")) == expected
    official = count_alone(load(folder / "official_rows.jsonl.gz"), "safety", ())
    assert summarize(read_pairs(folder, rule="safety")) == expected + official
    with spec(folder / "safe_responses.jsonl.gz").open(Context()) as testbed:
        assert f"{len(answers)} safe responses used as demonstrations" in "\n".join(testbed.notes)
    with spec(Path(f"{folder}#official_rows")).open(Context()) as testbed:
        assert "32 records with both labels" in "\n".join(testbed.notes)


def test_the_real_sft_sets(shared_data: Path) -> None:
    """Protects SFT(Alpaca) and SFT(Safe) on real files: every row of Alpaca, and every safe response once, is a demonstration
    of one split."""
    alpaca = load(shared_data / "alpaca" / "alpaca.jsonl.gz")
    read = TESTBEDS.parse({"kind": "jsonl", "data": str(shared_data / "alpaca" / "alpaca.jsonl.gz")})
    with read.open(Context()) as testbed:
        rows = [row for split in SPLITS for row in testbed.demonstrations(split)]
    assert Counter(row.completion.text for row in rows) == Counter(row["output"] for row in alpaca)
    assert all(row.prompt.turns[0].content for row in rows) and len(rows) == 4025
    data = shared_data / "pku-saferlhf" / "safe_responses.jsonl.gz"
    found: set[tuple[str, str]] = set()
    for part in ("policy", "evaluator"):
        with spec(data, part=part).open(Context()) as testbed:
            demonstrations = [row for split in SPLITS for row in testbed.demonstrations(split)]
        found |= {(row.prompt.turns[0].content, row.completion.text) for row in demonstrations}
    assert found == {(row["prompt"], row["response"]) for row in load(data)}


def test_useless_records_are_dropped_and_counted(tmp_path: Path) -> None:
    """Protects training from records that teach nothing or contradict themselves; each reason has its count."""
    odd = [
        {**ROWS[0], "response_1": ROWS[0]["response_0"]},
        {**ROWS[0], "response_0": " "},
        make_row(999, helpful=0, safer=0, safe=(False, True)),
        {**ROWS[0], "response_0": "x" * 300},
        {**ROWS[0], "prompt": "x" * 300},
        {"prompt": "Safe?", "response": ""},
    ]
    limits = {"max_prompt_chars": 200, "max_answer_chars": 100}
    with spec(write(tmp_path / "data.jsonl", odd + ROWS), **limits).open(Context()) as testbed:
        notes = "\n".join(testbed.notes)
    for count, why in (
        (1, "the two responses are the same"),
        (2, "a response is empty"),
        (1, "the response labelled safer is unsafe, and the other response is safe"),
        (1, "an answer has more than 100 characters"),
        (1, "the prompt has more than 200 characters"),
    ):
        assert f"SafeRLHF: {count} of 186 records dropped because {why}." in notes
    assert "180 records with both labels" in notes


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"better_response_id": 2},
            r"data\.jsonl:2: `better_response_id` must be 0 or 1, the number of a response, not '2'",
        ),
        ({"safer_response_id": None}, "`safer_response_id` must be 0 or 1"),
        ({"is_response_0_safe": "maybe"}, '`is_response_0_safe` must be true or false, not "maybe"'),
        ({"is_response_1_safe": None}, "the field `is_response_1_safe` is missing"),
        ({"response_1": 3}, "`response_1` must be text, not 3"),
    ],
)
def test_a_wrong_record_is_named(tmp_path: Path, change: Row, complaint: str) -> None:
    """Protects the user's time: file, line and field stand in the message, and no label is guessed."""
    data = write(tmp_path / "data.jsonl", [ROWS[0], {**ROWS[1], **change}])
    with pytest.raises(UserError, match=complaint), spec(data).open(Context()):
        pass


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        (
            {"prompt": "q", "response": ["a", "b", "c"]},
            "must be a list of two texts, of which the first is the safer response. The length of this list is 3",
        ),
        ({"prompt": "q", "response": ["a", 2]}, "`response` must be text, not 2"),
        ({"chosen": "a", "rejected": "b"}, r"not a record of SafeRLHF.*these fields: chosen, rejected"),
    ],
)
def test_another_record_is_refused(record: Row, complaint: str) -> None:
    """Protects from other data that would be read as something else."""
    with pytest.raises(UserError, match=complaint):
        parse_safety_record(record, "f:1")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"rule": "harm"}, "paper"),
        ({"filters": ["dual"]}, "dual-unsafe"),
        ({"filters": ["dual-safe", "dual-safe"]}, "name each filter only once"),
        ({"fractions": [0.5, 0.5, 0.1]}, "must be positive and sum to 1"),
    ],
)
def test_wrong_settings(tmp_path: Path, settings: dict[str, object], complaint: str) -> None:
    """Settings are checked before any file is opened."""
    with pytest.raises(UserError, match=complaint):
        spec(tmp_path, **settings)


def test_no_prompt_stands_in_two_parts(tmp_path: Path) -> None:
    """Protects the evaluator: policy and evaluator share no prompt, the test split is the same, and a prompt is found again
    by file and line."""
    data = write(tmp_path / "data.jsonl", ROWS)
    seen: dict[str, set[str]] = {}
    for part in ("policy", "evaluator"):
        with spec(data, part=part).open(Context()) as testbed:
            for split in SPLITS:
                keys = {make_turn_key(prompt) for prompt in testbed.prompts(split)}
                assert seen.setdefault("test" if split == "test" else f"{part} {split}", keys) == keys
            assert testbed.provenance()["part"] == part
    assert sum(map(len, seen.values())) == len(set().union(*seen.values())) == len(ROWS)
    record = parse_safety_record(ROWS[4], "f:1")
    assert isinstance(record, SafetyRecord) and spec(data).locate(record.prompt) == f"{data}:5"


def test_official_folders_and_the_hub(tmp_path: Path) -> None:
    """Protects the official layout: train and test files of a folder are pooled, and `datasets`, which serves the hub, reads
    the same records from them."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    write(tmp_path / "hub/train.jsonl", ROWS[:100])
    write(tmp_path / "hub/test.jsonl", ROWS[100:])
    pairs = summarize(read_pairs(tmp_path / "hub"))
    assert pairs == summarize(read_pairs(write(tmp_path / "data.jsonl", ROWS)))
    through_hub = [
        dict(row) for split in ("train", "test") for _, row in load_hub_records(str(tmp_path / "hub"), None, split)
    ]
    assert through_hub == ROWS


def sft_study(alpaca: Path, safe: Path, **settings: object) -> Study:
    """Two stages of SFT, each on its own data, and a policy that is trained on the pairs."""
    testbed = {"kind": "safe_rlhf", "data": str(safe), **settings}
    fast = {"epochs": 1, "batch_size": 16, "max_completion_tokens": 16, "optim": {"learning_rate": 1e-3}}
    data = {
        "name": "safe",
        "testbed": testbed,
        "model": {"name": "tiny", "tiny": {"width": 16, "inner": 16, "layers": 1, "heads": 2, "context": 256}},
        "evaluator": {"kind": "reward-model", "model": {"path": "stage:evaluator"}},
        "evaluation": {"samples": 1, "k": [], "temperatures": [1.0], "validation_samples": 1, "max_new_tokens": 4},
        "looks": 1,
        "seeds": 1,
        "stages": {
            "evaluator": {"testbed": {**testbed, "filters": (), "part": "evaluator"}, "method": {"kind": "rm", **fast}},
            "sft-alpaca": {
                "testbed": {"kind": "jsonl", "data": str(alpaca)},
                "method": {"kind": "sft", **fast, "examples": 40},
            },
            "sft-safe": {"init": "stage:sft-alpaca", "method": {"kind": "sft", **fast}},
        },
        "arms": {
            "dpo": {"init": "stage:sft-safe", "method": {"kind": "dpo", **fast}},
            "sft-alpaca": {"init": "stage:sft-alpaca", "policy": "stage:sft-alpaca"},
        },
    }
    return parse_spec(Study, data, where="test")


def run_all(study: Study, directory: Path) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for run in planned_runs(study, directory):
        execute(run.spec, run.directory)
        results[str(run.directory.relative_to(directory))] = read_json(run.directory / "result.json")
    return results


def test_both_kinds_of_sft_are_stages(tmp_path: Path) -> None:
    """Protects SFT(Alpaca), SFT(Safe) and a method on filtered pairs as one study: each trains on its own data."""
    alpaca = [{"instruction": f"Add {n} and 1.", "input": "", "output": f"{n + 1}"} for n in range(60)]
    files = write(tmp_path / "alpaca.jsonl", alpaca), write(tmp_path / "safe.jsonl", ROWS[:90])
    study = sft_study(*files, filters=("dual-unsafe",), validation=0.3)
    results = run_all(study, tmp_path / "study")
    trained = read_json(tmp_path / "study/seed-0/dpo/final/trained_on.json")
    assert [record["testbed"] for record in trained] == ["safe_rlhf", "jsonl"]
    assert "filter dual-unsafe: 60 of 90 pairs kept" in "\n".join(results["seed-0/dpo"]["data_notes"])
    assert results["seed-0/dpo"]["diverged"] is None and results["seed-0/sft-alpaca"]["evaluation"]
