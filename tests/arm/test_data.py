"""What `--preferences FILE` may hold: pairs, rankings and single answers in the user's own form, or preflab's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from preflab.arm.data import read_answers
from preflab.errors import UserError
from preflab.types import Completion, DrawnIds, Preference, Prompt, Ranking, Rated, Turn, from_preference, from_ranking

TWO = Prompt("two", (Turn("user", "Two?"),))


def written(folder: Path, *records: dict[str, Any]) -> Path:
    path = folder / "answers.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_every_form_is_read(tmp_path: Path) -> None:
    """Protects the reading of a user's file, in the forms of the data sets, and of a stage's file."""
    pair, ranking = (
        Preference(TWO, Completion("2"), Completion("3"), margin=1.0, chosen_safe=True, rejected_safe=False),
        Ranking(TWO, (Completion("2"),) * 2, (1, 0)),
    )
    answers = read_answers(
        written(
            tmp_path,
            {"prompt": "Two?", "chosen": "2", "rejected": "3", "margin": 2},
            {"prompt": "Two?", "completions": ["2", "3"], "scores": [1, 0]},
            {"prompt": "Two?", "completion": "3", "label": False},
            from_preference(pair),
            from_ranking(ranking),
        )
    )
    assert [type(row) for row in answers] == [Preference, Ranking, Rated, Preference, Ranking]
    assert isinstance(answers[0], Preference) and (answers[0].chosen.text, answers[0].margin) == ("2", 2.0)
    assert answers[2] == Rated(answers[0].prompt, Completion("3"), False) and answers[3:] == [pair, ranking]


def test_drawn_ids_come_back(tmp_path: Path) -> None:
    """Protects what a policy drew: the ids that preflab wrote beside an answer's text come back, of pairs and of rankings, and
    what is not an answer as it writes them is named."""
    drawn = Completion("2", False, DrawnIds((5, 6), "abc"))
    pair, ranking = Preference(TWO, drawn, Completion("3", True)), Ranking(TWO, (Completion("3"), drawn), (0.0, 1.0))
    read_pair, read_ranking = read_answers(written(tmp_path, from_preference(pair), from_ranking(ranking)))
    assert isinstance(read_pair, Preference) and isinstance(read_ranking, Ranking)
    assert read_pair == pair and read_pair.chosen.drawn == drawn.drawn
    assert read_ranking == ranking and read_ranking.completions[1].drawn == drawn.drawn
    for answer in (["2"], ["2", False, ["x"], "abc"], [2, False], "2", ["2", False, 3, "abc"], ["2", False, [1]]):
        with pytest.raises(UserError, match=r"answers\.jsonl:1: `chosen`"):
            read_answers(written(tmp_path, {**from_preference(pair), "chosen": answer}))


def test_rankings_of_equal_scores_are_left_out(tmp_path: Path) -> None:
    """Protects from rankings that order nothing."""
    path = written(tmp_path, *({"prompt": "Two?", "completions": ["2", "3"], "scores": [1, low]} for low in (0, 1)))
    assert len(read_answers(path)) == 1


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"prompt": "Two?", "chosen": "2"}, r"answers.jsonl:1: the record has `chosen` but not `rejected`"),
        ({"prompt": "Two?", "completion": "2"}, r"answers.jsonl:1: the record is not a pair"),
        ({"answer": "2"}, r"answers.jsonl:1: there is neither `prompt` nor `messages`"),
    ],
)
def test_what_is_wrong_is_named(record: dict[str, Any], said: str, tmp_path: Path) -> None:
    """Protects the user: file, line and field, and no traceback."""
    with pytest.raises(UserError, match=said):
        read_answers(written(tmp_path, record))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Protects from "no pairs" where the path is wrong."""
    with pytest.raises(UserError, match="no file"):
        read_answers(tmp_path / "nowhere.jsonl")
