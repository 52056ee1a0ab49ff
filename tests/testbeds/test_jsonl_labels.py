"""What JSON lines say beyond an order: margins, probabilities and rankings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from preflab.errors import UserError
from preflab.spec import Context
from preflab.testbeds.jsonl import Jsonl
from preflab.types import Completion, Preference, Ranking

from .rows import parse_record

PAIR = {"prompt": "Two?", "chosen": "2", "rejected": "3"}
RANKED = {"prompt": "Two?", "completions": ["3", "2", "two"], "scores": [0, 2.5, 1]}


def test_margin_and_probability() -> None:
    """Protects what the reward model may ask for; absent or null, nothing is stated."""
    row = parse_record({**PAIR, "margin": 2, "probability": 0.75}, "x")
    assert (row.margin, row.probability) == (2.0, 0.75)
    row = parse_record({**PAIR, "margin": None}, "x")
    assert (row.margin, row.probability) == (None, None)


def test_a_ranking() -> None:
    """Protects the three uses of a ranking: its answers best first, the best as demonstration, best and worst as a pair."""
    row = parse_record(RANKED, "x")
    assert row.ranked == ((Completion("2"), 2.5), (Completion("two"), 1.0), (Completion("3"), 0.0))
    assert (row.answer, row.rejected, row.margin) == (Completion("2"), Completion("3"), 2.5)
    equal = parse_record({**RANKED, "scores": [1, 1, 1]}, "x")
    assert (equal.answer, equal.rejected, equal.margin) == (Completion("3"), None, None)


def test_single_answers() -> None:
    """Protects thumbs up and down (TRL's unpaired preferences): an undesirable answer is never one to imitate, and a field
    `label` of another meaning is refused, because it might be read the wrong way round."""
    good, bad = (
        {"prompt": "Two?", "completion": "2", "label": True},
        {"prompt": "Two?", "completion": "3", "label": False},
    )
    row = parse_record(good, "x")
    assert (row.answer, row.rejected, row.rated) == (Completion("2"), None, True)
    row = parse_record(bad, "x")
    assert (row.answer, row.rejected, row.rated) == (None, Completion("3"), True)
    with pytest.raises(UserError, match=r'x: `label`: the label "greeting" says neither good nor bad'):
        parse_record({**bad, "label": "greeting"}, "x")
    assert not parse_record({**PAIR, "label": False}, "x").rated


def test_an_opened_file_holds_them(tmp_path: Path) -> None:
    """Protects the road to KTO and SFT: both kinds are there, and only the desirable one is a demonstration."""
    records = [{"prompt": f"{n}?", "completion": str(n), "label": n % 2 == 0} for n in range(40)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    with Jsonl(data=str(tmp_path / "data.jsonl")).open(Context()) as testbed:
        rated = testbed.rated("train")
        assert {answer.desirable for answer in rated} == {True, False}
        assert all(answer.desirable == (int(answer.completion.text) % 2 == 0) for answer in rated)
        assert all(int(row.completion.text) % 2 == 0 for row in testbed.demonstrations("train"))


def test_completions_without_scores_are_left_alone() -> None:
    """Protects data whose `completions` mean something else."""
    assert parse_record({"prompt": "Two?", "completions": ["1", "2"], "labels": [True, False]}, "x").ranked == ()


@pytest.mark.parametrize(
    ("record", "match"),
    [
        ({**PAIR, "margin": "much"}, "`margin` must be a finite number"),
        ({**PAIR, "margin": True}, "`margin` must be a finite number"),
        ({**PAIR, "margin": -3}, "at least 0, not -3"),
        ({**PAIR, "probability": 1.5}, "between 0 and 1"),
        ({**RANKED, "scores": [1, 2]}, "two lists of the same length"),
        ({**RANKED, "completions": ["1"], "scores": [1]}, "at least two items"),
        ({**RANKED, "completions": "123"}, "two lists"),
        ({**RANKED, "scores": [0, float("nan"), 1]}, "`scores` must be a finite number"),
        ({**RANKED, "completions": ["1", 2, "3"]}, "`completions` must be text"),
        ({**RANKED, "chosen": "2", "rejected": "3"}, "is a ranking"),
    ],
)
def test_what_is_wrong_is_named(record: dict[str, Any], match: str) -> None:
    """Protects the user: place and field, before anything is trained."""
    with pytest.raises(UserError, match=match) as error:
        parse_record(record, "file.jsonl, line 7")
    assert "file.jsonl, line 7" in str(error.value)


def test_the_testbed_hands_them_on(tmp_path: Path) -> None:
    """Protects the way to the methods: pairs with what they state, rankings of unequal scores, per split."""
    stated = {**PAIR, "margin": 2, "probability": 0.75}
    lines = [{**RANKED, "prompt": "One?"}, {**RANKED, "prompt": "Same?", "scores": [1, 1, 1]}, stated]
    files: dict[str, str] = {}
    for field, rows in {
        "data": lines,
        "validation": [{**PAIR, "prompt": "A?"}],
        "test": [{**PAIR, "prompt": "B?"}],
    }.items():
        files[field] = str(tmp_path / f"{field}.jsonl")
        Path(files[field]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Jsonl.model_validate(files).open(Context()) as testbed:
        one, two = testbed.preferences("train")
        assert (one.margin, one.probability) == (2.5, None)
        assert two == Preference(two.prompt, Completion("2"), Completion("3"), 2.0, 0.75)
        (ranking,) = testbed.rankings("train")
        assert ranking == Ranking(one.prompt, (Completion("2"), Completion("two"), Completion("3")), (2.5, 1.0, 0.0))
        assert testbed.rankings("test") == []
