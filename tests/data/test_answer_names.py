"""The names of the two answers of a record, and the fields that say which of the two is better."""

from __future__ import annotations

from typing import Any

import pytest

from preflab.data.answer_names import BARE_PAIRS, PAIRS
from preflab.errors import UserError

from .test_shapes import PAIR, assistant, describe, read, user
from .test_shapes import PAIRS as PUBLIC

NAMES = """chosen_answer rejected_answer, chosen_messages rejected_messages, output_chosen output_rejected,
preferred_response dispreferred_response, preferred_output non_preferred_output, accepted_response rejected_response,
response_better response_worse, winning_response losing_response, winner_answer loser_answer, response_j response_k,
preferred dispreferred, preferred rejected, accepted rejected, better worse, winner loser"""


@pytest.mark.parametrize("names", NAMES.replace("\n", " ").split(", "))
def test_the_usual_names_of_a_better_and_a_worse_answer(names: str) -> None:
    """Protects pairs from becoming prompts alone: under each name the two answers are read, in their order, as text, as
    messages and as whole dialogues without a prompt."""
    better, worse = names.split()
    for record in (
        {"prompt": "q", better: "good", worse: "bad"},
        {"prompt": "q", worse: [assistant("bad")], better: [assistant("good")]},
        {better: [user("q"), assistant("good")], worse: [user("q"), assistant("bad")]},
    ):
        assert [describe(row) for row in read(record)] == [PAIR]


def test_no_name_is_both_better_and_worse() -> None:
    """Protects the table of names: a pair of names has one order, and no answer is the better one here and the worse one
    there."""
    pairs = (*PAIRS, *BARE_PAIRS)
    assert len(set(pairs)) == len(pairs)
    assert not {better for better, _ in pairs} & {worse for _, worse in pairs}


@pytest.mark.parametrize(
    "record",
    [
        {"winner": "model_a", "loser": "model_b"},
        {"better": "A", "worse": "B", "A": "good", "B": "bad"},
        {"preferred": "gpt", "dispreferred": "llama", "response_gpt": "good", "response_llama": "bad"},
    ],
)
def test_names_of_answers_are_not_answers(record: dict[str, Any]) -> None:
    """Protects from the names of models or of fields that are trained on as answers."""
    assert [describe(row) for row in read({"prompt": "q", **record})] == [("u:q", None, None)]


CHOICES = [
    ("answer_a answer_b preference", "a b"),
    ("answer_a answer_b winner", "A B"),
    ("response_a response_b winner", "model_a model_b"),
    ("response_a response_b preference", "response_a response_b"),
    ("output_a output_b preferred", "a b"),
    ("completion_a completion_b choice", "A B"),
    ("conversation_a conversation_b better", "a b"),
    ("answer_1 answer_2 preference", "1 2"),
    ("answer_1 answer_2 preference", "1.0 2.0"),
    ("completion_1 completion_2 winner", "1 2"),
    ("response_A response_B winner", "A B"),
    ("answer_A answer_B preference", "answer_A answer_B"),
    ("output_1 output_2 better", "output_1 output_2"),
]


@pytest.mark.parametrize(("fields", "choices"), CHOICES)
def test_two_answers_and_a_choice(fields: str, choices: str) -> None:
    """Protects pairs that a field orders: the field may give a letter, a number, the model or the field of the answer. From
    a tie only the prompt is kept, and any other value is refused."""
    first, second, says = fields.split()
    one, other = choices.split()
    answers = {"prompt": "q", first: "good", second: "bad"}
    assert [describe(row) for row in read({**answers, says: f"{one} "})] == [PAIR]
    assert [describe(row) for row in read({**answers, first: "bad", second: "good", says: other})] == [PAIR]
    if one.isdecimal():
        assert [describe(row) for row in read({**answers, says: int(one)})] == [PAIR]
    for tie in ("tie", "Draw", "tie (bothbad)"):
        assert [describe(row) for row in read({**answers, says: tie})] == [("u:q", None, None)]
    for unclear in (0.7, "gpt-4", ""):
        with pytest.raises(UserError, match=f"f:1: `{says}` must be one of"):
            read({**answers, says: unclear})


@pytest.mark.parametrize(
    ("fields", "choices"),
    [("response_A response_B", "A>B B>A"), ("response_a response_b", "a b"), ("answer_1 answer_2", "1 2")],
)
def test_a_label_may_choose_between_two_answers(fields: str, choices: str) -> None:
    """Protects pairs whose choice is called a label (JudgeBench): only their prompts were read."""
    names = fields.split()
    for place, label in enumerate(choices.split()):
        texts = ("good", "bad") if place == 0 else ("bad", "good")
        assert [
            describe(row) for row in read({"prompt": "q", **dict(zip(names, texts, strict=True)), "label": label})
        ] == [PAIR]


@pytest.mark.parametrize("name", ["LMSYS, Kaggle", "HelpSteer2 preference"])
def test_a_data_sets_own_choice_comes_first(name: str) -> None:
    """Protects a data set that states its choice in its own way from another field that also looks like one."""
    record = {**PUBLIC[name]} | dict.fromkeys(("winner", "preference", "preferred", "better", "choice"), "model_a")
    assert [describe(row) for row in read(record)] == [PAIR]
