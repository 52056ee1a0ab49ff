"""What is counted at the start of a run, and what is refused because it can teach nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from preflab.data.check import AnyRecord, check_rows
from preflab.data.faults import CONTRADICTED, EMPTY, EMPTY_PROMPT, NULL, REPEATED, SAME_ANSWERS, FaultFinder
from preflab.data.length_bias import LengthBias
from preflab.data.row import DialogueRow
from preflab.errors import UserError
from preflab.types import Completion, Demonstration, Preference, Prompt, Ranking, Rated, Turn


def prompt(text: str = "q") -> Prompt:
    return Prompt(text, (Turn("user", text),))


def pair(chosen: str, rejected: str, text: str = "q") -> Preference:
    return Preference(prompt(text), Completion(chosen), Completion(rejected))


def answer(text: str) -> Demonstration:
    return Demonstration(prompt(), Completion(text))


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([pair("a", "a")] * 200, "in all of 200 pairs chosen and rejected are the same"),
        ([pair("", "b", str(n)) for n in range(3)], "in all of 3 pairs an answer is empty"),
        ([pair("a", "a"), pair("a", " ")], "in all of 2 pairs chosen and rejected are the same, an answer is empty"),
        ([answer(""), answer("\n")], "in all of 2 demonstrations an answer is empty"),
        ([Rated(prompt(), Completion(""), False)], "in all of 1 labelled answer an answer is empty"),
        (
            [Ranking(prompt(), (Completion("a"),) * 3, (1, 2, 3))],
            "in all of 1 ranking chosen and rejected are the same",
        ),
        ([], "there is no row"),
    ],
)
def test_what_can_teach_nothing_is_refused(rows: Sequence[AnyRecord], complaint: str) -> None:
    """Protects hours: rows of which none can teach stop a run before its first step, with the place and what to do."""
    with pytest.raises(UserError, match=f"the train split of jsonl: {complaint}.*preflab data check"):
        check_rows(rows, "the train split of jsonl")


def test_what_can_teach_is_counted() -> None:
    """Protects the line at a run's start. Of unequal pairs 2 > 1, 1 < 2, 3 > 1, 3 > 1: the longer wins in 3/4."""
    rows = [pair("aa", "b"), pair("a", "bb"), pair("aaa", "b"), pair("aaa", "b"), pair("a", "a"), pair("b", "aa")]
    counts = check_rows(rows[:-1], "x")
    assert (counts.noun, counts.rows, counts.prompts, counts.useless, counts.longer_wins) == ("pair", 5, 1, 1, 0.75)
    assert counts.faults == {REPEATED: 1, SAME_ANSWERS: 1}
    assert counts.describe() == (
        "5 pairs for 1 prompt; in 1 it repeats an earlier record; in 1 chosen and rejected are the same; the longer answer is "
        "chosen in 75%"
    )
    assert check_rows(rows, "x").faults[CONTRADICTED] == 1
    assert check_rows([prompt()], "x").describe() == "1 prompt for 1 prompt"
    liked, disliked = (Rated(prompt(), Completion("a"), good) for good in (True, False))
    assert check_rows([liked, disliked], "x").noun == "labelled answer"
    assert "label" not in check_rows([liked, disliked], "x").describe().partition(";")[2]
    for row, word in ((liked, "good"), (disliked, "bad")):
        assert check_rows([row], "x").describe() == (
            f"1 labelled answer for 1 prompt; every label is {word}, so the data do not show how good and bad answers differ"
        )


def test_faults_of_a_row() -> None:
    """Protects each fault by itself: what it is, and what it is not."""

    def find(*rows: DialogueRow) -> list[list[str]]:
        finder = FaultFinder()
        return [finder.find(row) for row in rows]

    a, b, other = Completion("a"), Completion("b"), prompt("other")
    better = DialogueRow(prompt(), a, b)
    worse = DialogueRow(prompt(), b, a)
    assert find(better, worse, better, DialogueRow(other, b, a)) == [[], [CONTRADICTED], [REPEATED, CONTRADICTED], []]
    good, bad = DialogueRow(prompt(), a, rated=True), DialogueRow(prompt(), None, a, rated=True)
    assert find(good, bad) == [[], [CONTRADICTED]]
    assert find(DialogueRow(prompt(), a), good, DialogueRow(prompt(), a)) == [[], [], [REPEATED]]
    assert find(DialogueRow(prompt(), Completion(" \n"), b)) == [[EMPTY]]
    assert [find(DialogueRow(prompt(), a, Completion(text))) for text in ("NaN", " None", "null", "<NA>")] == [
        [[NULL]]
    ] * 4
    assert find(DialogueRow(prompt(), Completion("None of them"), b)) == [[]]
    assert find(DialogueRow(prompt(" \n"), a), DialogueRow(Prompt("none", ()), a)) == [[EMPTY_PROMPT], [EMPTY_PROMPT]]
    finder = FaultFinder()
    for row in (better, worse):
        finder.find(row)
    again = FaultFinder(frozenset(finder.contradicted))
    assert [again.find(row) for row in (better, worse)] == [[CONTRADICTED], [CONTRADICTED]]


def test_length_alone() -> None:
    """Protects the baseline: 6 longer, 2 shorter, 2 equal: the longer one wins in 6/8, and "the longer" is right in 7/10. With
    the numbers exchanged "the shorter" is."""
    bias, turned = LengthBias(), LengthBias()
    for chosen, rejected, count in ((2, 1, 6), (1, 2, 2), (1, 1, 2)):
        for _ in range(count):
            bias.add(chosen, rejected)
            turned.add(rejected, chosen)
    assert (bias.longer_wins, bias.length_only_accuracy) == (0.75, 0.7)
    assert (turned.longer_wins, turned.length_only_accuracy) == (0.25, 0.7)
    assert (LengthBias().longer_wins, LengthBias().length_only_accuracy) == (None, None)
