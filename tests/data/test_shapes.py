"""Every usual shape of a record, and what a method is given of it. The expected rows were written by hand from each data set's
own description."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from preflab.data.reading import FileReading, check_names
from preflab.data.row import DialogueRow, UselessRecordError
from preflab.data.shapes import SHAPES, recognise
from preflab.errors import UserError
from preflab.types import Problem, Test


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def system(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


def says(who: str, text: str) -> dict[str, str]:
    return {"from": who, "value": text}


def read(*records: Mapping[str, Any]) -> list[DialogueRow]:
    """The rows of a file that holds the records and that a judge will test; raises its errors."""
    lines = [(f"f:{n}", dict(record)) for n, record in enumerate(records, 1)]
    return [row for _, row in FileReading(tested=True).read_rows(lines)]


def describe(row: DialogueRow) -> tuple[str, str | None, str | None]:
    """The prompt's turns as text, the answer to imitate and the rejected one."""
    turns = " | ".join(f"{turn.role[0]}:{turn.content}" for turn in row.prompt.turns)
    return turns, row.answer and row.answer.text, row.rejected and row.rejected.text


THEN = [user("q"), assistant("x"), user("r")]
PAIR = ("u:q", "good", "bad")
ANSWERED = ("u:q", "good", None)
LIKED = [
    *(
        {"prompt": "q", "completion": "good", "label": label}
        for label in (True, "true", "True", 1, 1.0, "1", "yes", "good")
    ),
    {"messages": [user("q"), assistant("good")], "label": True},
    {"messages": [user("q"), {**assistant("good"), "label": True}]},
    {"messages": [user("q"), {**assistant("good"), "is_toxic": False}]},
    {"prompt": "q", "completion": "good", "is_harmful": 0},
    {"prompt": "q", "completion": "good", "is_preferred": True, "is_rejected": "no"},
    {"conversations": [says("human", "q"), says("gpt", "good")], "kto_tag": True},
    {"instruction": "q", "input": "", "output": "good", "kto_tag": True},
]
DISLIKED = [
    {"messages": [user("q")], "completion": "bad", "label": False},
    {"messages": [user("q")], "response": [assistant("bad")], "kto_tag": "no"},
    {"prompt": "q", "completion": "\n\nHuman: q\n\nAssistant: bad", "label": False},
    *(
        {"prompt": "q", "completion": "bad", "label": label}
        for label in (False, "false", "FALSE ", 0, 0.0, "0", "no", "bad")
    ),
    *({"prompt": "q", "completion": "bad", "label": label} for label in (-1, "-1", -1.0, "thumbs_down", "rejected")),
    {"messages": [user("q"), assistant("bad")], "label": "false"},
    *(
        {"prompt": "q", "completion": "bad", name: True}
        for name in ("is_harmful", "is_unsafe", "is_rejected", "Is_Wrong")
    ),
    {"messages": [user("q"), {**assistant("bad"), "is_toxic": True}]},
    {"prompt": "q", "completion": "bad", "is_chosen": False, "is_bad": 1},
    {"messages": [user("q"), {**assistant("bad"), "label": False}]},
    {"conversations": [says("human", "q"), {**says("gpt", "bad"), "Is_Correct": False}]},
    {"prompt": "q", "completion": [{**assistant("bad"), "kto_tag": False}]},
    {"prompt": [user("q")], "response": {**assistant("bad"), "liked": False}, "label": 0},
    {"messages": [user("q"), assistant("bad")], "label": -1},
    {"conversations": [says("human", "q"), says("gpt", "bad")], "label": 0},
    {"question": "q", "response": "bad", "desirable": "No"},
    *(
        {"prompt": "q", "completion": "bad", name: False}
        for name in (
            "is_safe",
            "is_correct",
            "correct",
            "is_good",
            "liked",
            "labels",
            "kto_label",
            "Label",
            "LABEL",
            "Is_Safe",
        )
    ),
]
PAIRS: dict[str, Mapping[str, Any]] = {
    "TRL, explicit prompt": {"prompt": "q", "chosen": "good", "rejected": "bad"},
    "TRL, messages": {"prompt": [user("q")], "chosen": [assistant("good")], "rejected": [assistant("bad")]},
    "TRL, implicit prompt": {"chosen": [user("q"), assistant("good")], "rejected": [user("q"), assistant("bad")]},
    "TRL, implicit prompt as texts": {"chosen": "q good", "rejected": "q bad"},
    "winner and loser": {"prompt": "q", "winner": "good", "loser": "bad"},
    "winner and loser as dialogues": {"winner": [user("q"), assistant("good")], "loser": [user("q"), assistant("bad")]},
    "HH-RLHF": {"chosen": "\n\nHuman: q\n\nAssistant: good", "rejected": "\n\nHuman: q\n\nAssistant: bad"},
    "HH-RLHF with its prompt apart": {"prompt": "\n\nHuman: q\n\nAssistant:", "chosen": "good", "rejected": "bad"},
    "messages as JSON texts": {
        "chosen": json.dumps([user("q"), assistant("good")]),
        "rejected": json.dumps([user("q"), assistant("bad")]),
    },
    "messages as Python's texts": {
        "prompt": str([user("q")]),
        "chosen": str([assistant("good")]),
        "rejected": str([says("gpt", "bad")]),
    },
    "Capybara's pairs": {
        "conversation": [{"input": "q", "output": None}],
        "chosen": [user("q"), assistant("good")],
        "rejected": [user("q"), assistant("bad")],
    },
    "Capybara's pairs, with the answer": {
        "conversation": [{"input": "q", "output": "x"}],
        "chosen": [user("q"), assistant("good")],
        "rejected": [user("q"), assistant("bad")],
    },
    "WebGPT": {
        "question": {"dataset": "eli5", "id": "1", "full_text": "q"},
        "answer_0": "bad",
        "answer_1": "good",
        "score_0": -0.5,
        "score_1": 0.5,
    },
    "StackExchange": {"question": "q", "answers": [{"text": "bad", "pm_score": 1}, {"text": "good", "pm_score": 3}]},
    "HH-RLHF with the line ends of Windows": {
        "prompt": "\r\n\r\nHuman: q\r\n\r\nAssistant:",
        "chosen": "\r\n\r\nHuman: q\r\n\r\nAssistant: good\r\n",
        "rejected": "bad",
    },
    "StackExchange, paired": {"question": "q", "response_j": "good", "response_k": "bad"},
    "distilabel, one rating": {"instruction": "q", "generations": ["bad", "good"], "rating": [1, 5]},
    "answers with their scores": {
        "prompt": "q",
        "responses": [{"text": "bad", "score": 1}, {"text": "good", "score": 2}],
    },
    "chosen and rejected responses": {"prompt": "q", "response_chosen": "good", "response_rejected": "bad"},
    "LMSYS, Kaggle": {
        "prompt": '["q"]',
        "response_a": '["bad"]',
        "response_b": '["good"]',
        "winner_model_a": "0",
        "winner_model_b": "1",
        "winner_tie": "0",
    },
    "HH-RLHF with its prompt twice": {
        "prompt": "\n\nHuman: q\n\nAssistant:",
        "chosen": "\n\nHuman: q\n\nAssistant: good",
        "rejected": "\n\nHuman: q\n\nAssistant: bad",
    },
    "UltraFeedback binarized": {
        "prompt": "q",
        "prompt_id": "1",
        "messages": [user("q"), assistant("good")],
        "chosen": [user("q"), assistant("good")],
        "rejected": [user("q"), assistant("bad")],
        "score_chosen": 8.0,
        "score_rejected": 2.0,
    },
    "messages of the whole dialogue beside texts": {
        "messages": [user("q"), assistant("good")],
        "chosen": "good",
        "rejected": "bad",
    },
    "messages of the prompt beside messages": {
        "messages": [user("q")],
        "chosen": assistant("good"),
        "rejected": assistant("bad"),
    },
    "ms-swift": {"messages": [user("q"), assistant("good")], "rejected_response": "bad"},
    "ms-swift, whole dialogues": {
        "messages": [user("q"), assistant("good")],
        "rejected_messages": [user("q"), assistant("bad")],
    },
    "ms-swift, query": {"query": "q", "response": "good", "rejected_response": "bad"},
    "ShareGPT-DPO": {
        "conversations": [says("human", "q")],
        "chosen": says("gpt", "good"),
        "rejected": says("gpt", "bad"),
    },
    "Alpaca-DPO": {"instruction": "q", "input": "", "chosen": "good", "rejected": "bad"},
    "argilla": {"instruction": "q", "chosen_response": "good", "rejected_response": "bad"},
    "OpenAI": {
        "input": {"messages": [user("q")]},
        "preferred_output": [assistant("good")],
        "non_preferred_output": [assistant("bad")],
    },
    "null-filled union": {"prompt": "q", "completion": None, "chosen": "good", "rejected": "bad", "messages": None},
    "SHP, A preferred": {"history": "q", "human_ref_A": "good", "human_ref_B": "bad", "labels": 1},
    "SHP, B preferred": {"history": "q", "human_ref_A": "bad", "human_ref_B": "good", "labels": 0},
    "SafeRLHF": {
        "prompt": "q",
        "response_0": "bad",
        "response_1": "good",
        "better_response_id": 1,
        "safer_response_id": 0,
        "is_response_0_safe": True,
    },
    "SafeRLHF from a table": {
        "prompt": "q",
        "response_0": "bad",
        "response_1": "good",
        "better_response_id": "1.0",
        "is_response_0_safe": "1.0",
    },
    "LLMBar": {"input": "q", "output_1": "bad", "output_2": "good", "label": 2},
    "AlpacaFarm": {"instruction": "q", "input": "", "output_1": "good", "output_2": "bad", "preference": 1},
    "HelpSteer2 preference": {"prompt": "q", "response_1": "good", "response_2": "bad", "preference_strength": -2},
    "HelpSteer3": {"context": [user("q")], "response1": "bad", "response2": "good", "overall_preference": 3},
    "Chatbot Arena": {
        "conversation_a": [user("q"), assistant("bad")],
        "conversation_b": [user("q"), assistant("good")],
        "winner": "model_b",
    },
    "Chatbot Arena, parts": {
        "conversation_a": [
            user("q"),
            {"role": "assistant", "content": [{"type": "text", "text": "good", "image": None}]},
        ],
        "conversation_b": [
            user("q"),
            {"role": "assistant", "content": [{"type": "text", "text": "bad", "image": None}]},
        ],
        "winner": "model_a",
    },
    "PKU's ordered pairs": {"prompt": "q", "response": ["good", "bad"]},
    "LLaMA-Factory's ordered pairs": {"instruction": "q", "input": "", "output": ["good", "bad"]},
    "Nectar": {
        "prompt": "\n\nHuman: q\n\nAssistant: ",
        "answers": [{"answer": "bad", "rank": 2.0}, {"answer": "good", "rank": 1.0}],
    },
    "UltraFeedback": {
        "instruction": "q",
        "completions": [{"response": "bad", "overall_score": 3.5}, {"response": "good", "overall_score": 8}],
    },
    "distilabel": {"instruction": "q", "generations": ["bad", "good"], "ratings": [1, 5]},
    "ranking": {"prompt": "q", "completions": ["good", "middle", "bad"], "scores": [3, 2, 1]},
    "ranking by ranks": {"query": "q", "responses": ["bad", "good"], "ranks": [2, 1]},
}
SINGLE: dict[str, Mapping[str, Any]] = {
    "TRL": {"prompt": "q", "completion": "good"},
    "messages": {"messages": [user("q"), assistant("good")]},
    "roles of other spellings": {
        "messages": [{"role": "User", "content": "q"}, {"role": "Chatbot", "content": "good"}]
    },
    "a role's name under ShareGPT's fields": {"messages": [says("Human", "q"), {"role": "model", "value": "good"}]},
    "a null beside the role": {
        "messages": [{"from": None, "value": None, **user("q")}, {"from": "GPT", "content": "good"}]
    },
    "an empty list of tool calls": {"messages": [user("q"), {**assistant("good"), "tool_calls": []}]},
    "messages and their answer": {"messages": [user("q")], "completion": "good"},
    "ShareGPT's dialogue and its answer": {"conversations": [says("human", "q")], "response": "good"},
    "LIMA": {"conversations": ["q", "good"], "source": "x"},
    "Capybara": {"conversation": [{"input": "q", "output": "good"}]},
    "messages as JSON text": {"messages": json.dumps([user("q"), assistant("good")])},
    "a dialogue as HH-RLHF's text": {"dialogue": "\n\nHuman: q\n\nAssistant: good"},
    "messages beside their prompt (no_robots)": {"prompt": "q", "messages": [user("q"), assistant("good")]},
    "ShareGPT": {"conversations": [says("human", "q"), says("gpt", "good")]},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, assistant("good")]},
    "Alpaca": {"instruction": "q", "input": "", "output": "good"},
    "Dolly": {"instruction": "q", "context": "", "response": "good", "category": "open_qa"},
    "GSM8K": {"question": "q", "answer": "good"},
    "safe responses": {"prompt": "q", "response": "good"},
    "a null label": {"prompt": "q", "completion": "good", "label": None},
    "a null of everything else": {
        "prompt": "q",
        "completion": "good",
        "chosen": None,
        "rejected": None,
        "scores": None,
    },
}


@pytest.mark.parametrize("record", PAIRS.values(), ids=PAIRS)
def test_a_pair_in_every_shape(record: Mapping[str, Any]) -> None:
    """Protects DPO and reward models: the same two answers to the same prompt, in the right order."""
    [row] = read(record)
    assert describe(row) == PAIR and not row.rated


@pytest.mark.parametrize("record", SINGLE.values(), ids=SINGLE)
def test_an_answer_in_every_shape(record: Mapping[str, Any]) -> None:
    """Protects SFT: one answer to imitate."""
    [row] = read(record)
    assert describe(row) == ANSWERED and not row.rated


@pytest.mark.parametrize("name", [*PAIRS, *SINGLE])
def test_columns_that_hold_nothing_change_nothing(name: str) -> None:
    """Protects tables, in which every record has every column, from an empty text that is read as the question, and from a
    column that has a known name and another content."""
    record = (PAIRS | SINGLE)[name]
    columns = {"input": "", "context": "", "system": "", "history": [], "chosen_safe": None, "turns": 2}
    if name == "TRL, implicit prompt as texts":
        del columns["input"]  # an empty prompt, which is a fault of the record
    reading = FileReading(tested=True)
    [(_, row)] = reading.read_rows([("f:1", {**columns, **record})])
    assert row == read(record)[0]
    [unread] = [note for note in reading.write_notes() if note.startswith("Fields that are not read")]
    assert not {"`input`", "`context`", "`system`", "`history`"} & {*unread.replace(",", "").rstrip(".").split()}


@pytest.mark.parametrize("record", LIKED, ids=json.dumps)
def test_a_good_label_in_every_spelling(record: Mapping[str, Any]) -> None:
    """Protects KTO's desirable answers, which are demonstrations too."""
    [row] = read(record)
    assert describe(row) == ANSWERED and row.rated


@pytest.mark.parametrize("record", DISLIKED, ids=json.dumps)
def test_a_bad_label_in_every_spelling(record: Mapping[str, Any]) -> None:
    """Protects SFT from answers that are known to be bad, whatever shape and spelling they come in."""
    [row] = read(record)
    assert describe(row) == ("u:q", None, "bad") and row.rated


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        ((0, -1), "the label is -1, and an earlier label is 0"),
        (("-1", 1, "0"), "the label is 0, and an earlier label is -1"),
        ((1, 2), "the label 2 says neither"),
        ((5,), "the label 5 says neither"),
        (("greeting",), 'the label "greeting" says neither'),
        ((0.5,), "the label 0.5 says neither"),
        (([True],), r"the label \[true\] says neither"),
        (({},), "the label {} says neither"),
    ],
)
def test_unclear_labels_are_refused(labels: tuple[Any, ...], complaint: str) -> None:
    """Protects from labels that might mean the opposite: a whole file's labels are read together."""
    with pytest.raises(UserError, match=complaint):
        read(*({"messages": [user("q"), assistant("a")], "label": label} for label in labels))


def test_labels_that_disagree_are_refused() -> None:
    """Protects SFT from an answer that one field calls good and another bad; `fields` says which of them counts."""
    record = {"prompt": "q", "completion": "bad", "is_correct": True, "is_safe": False}
    with pytest.raises(UserError, match="f:1: `is_correct` calls the answer good, but `is_safe` calls the answer bad"):
        read(record)
    [(_, row)] = FileReading({"is_correct": None}).read_rows([("f:1", record)])
    assert describe(row) == ("u:q", None, "bad")
    assert [row.rated for row in read({**record, "is_correct": 0, "is_safe": -1})] == [True]
    [(_, row)] = FileReading({"label": None}).read_rows([("f:1", {"prompt": "q", "completion": "good", "Label": "no"})])
    assert describe(row) == ANSWERED


def test_labels_inside_of_an_answer() -> None:
    """Protects SFT from a message that is called bad in its own line; numbers there may be classes, so a note names them."""
    reading = FileReading()
    records = [
        {"messages": [{**user("q"), "label": False}, {**assistant("a"), "label": False}]},
        {"messages": [user("r"), {**assistant("a"), "label": 0}]},
        {"prompt": "q", "chosen": [{**assistant("a"), "label": False}], "rejected": "b"},
    ]
    rows = [row for _, row in reading.read_rows((f"f:{n}", record) for n, record in enumerate(records))]
    assert [describe(row)[1:] for row in rows] == [(None, "a"), ("a", None), ("a", "b")]
    assert reading.write_notes() == [
        "Fields that are not read: `messages.label`, `chosen.label`.",
        "1 answer without a label: taken as good, because other answers have labels.",
    ]
    for record in (
        {"messages": [user("q"), {**assistant("a"), "label": False}], "label": True},
        {"messages": [user("q"), {**assistant("a"), "label": False, "liked": True}]},
    ):
        with pytest.raises(UserError, match=r"f:1: .* contradict each other"):
            read(record)


def test_labels_are_read_together_and_file_by_file() -> None:
    """Protects 0 and -1, each of which is bad beside 1 in a file of its own, and mixed spellings that are all clear."""
    for bad in (0, -1, "no", False):
        rows = read(
            *({"prompt": f"{n}", "completion": "a", "label": label} for n, label in enumerate((1, bad, "yes", True)))
        )
        assert [row.answer is not None for row in rows] == [True, False, True, True]


NUMBERED = (
    ("output_1", "output_2", "label"),
    ("output_1", "output_2", "preference"),
    ("response_1", "response_2", "preference"),
)


@pytest.mark.parametrize("fields", NUMBERED, ids=str)
def test_choices_that_may_count_from_0_are_refused(fields: tuple[str, str, str]) -> None:
    """Protects from pairs the wrong way round: under 0 and 1 the answers may be counted from 0; beside a 2, 0 is a tie."""
    first, second, says = fields

    def choose(*numbers: Any) -> list[DialogueRow]:
        return read(*({"prompt": f"{n}", first: "a", second: "b", says: number} for n, number in enumerate(numbers)))

    for unclear in ((1, 0), (False, True), ("0", "1"), (0.0,)):
        with pytest.raises(UserError, match=rf"f:\d: `{says}` is 0, and no record that was read contains a 2"):
            choose(*unclear)
    assert [describe(row)[1:] for row in choose(1, 0, 2)] == [("a", "b"), (None, None), ("b", "a")]
    assert [describe(row)[1:] for row in choose("1", "tie", 1)] == [("a", "b"), (None, None), ("a", "b")]


LONGER: dict[str, tuple[Mapping[str, Any], tuple[str, str | None, str | None]]] = {
    "Alpaca's input": ({"instruction": "q", "input": "x", "output": "a"}, ("u:q\n\nx", "a", None)),
    "Dolly's context": ({"instruction": "q", "context": "x", "response": "a"}, ("u:q\n\nx", "a", None)),
    "a question on a passage": ({"question": "q", "context": "x", "answer": "a"}, ("u:q\n\nx", "a", None)),
    "a pair on a passage": (
        {"question": "q", "context": "x", "chosen": "a", "rejected": "b"},
        ("u:q\n\nx", "a", "b"),
    ),
    "a question on several passages": (
        {"question": "q", "context": ["x", "", "y"], "answer": "a"},
        ("u:q\n\nx\n\ny", "a", None),
    ),
    "a prompt with an input": ({"prompt": "q", "input": "x", "output": "a"}, ("u:q\n\nx", "a", None)),
    "a problem with an input": ({"problem": "q", "input": "x", "solution": "a"}, ("u:q\n\nx", "a", None)),
    "an empty input before a context": (
        {"instruction": "q", "input": "", "context": "x", "response": "a"},
        ("u:q\n\nx", "a", None),
    ),
    "an input after an empty instruction": ({"instruction": "", "input": "q", "output": "a"}, ("u:q", "a", None)),
    "an input that the prompt holds already": (
        {"prompt": "q: x", "input": "x", "output": "a"},
        ("u:q: x", "a", None),
    ),
    "an empty system before another": (
        {"system": "", "system_prompt": "s", "prompt": "q", "completion": "a"},
        ("s:s | u:q", "a", None),
    ),
    "ORCA-DPO": (
        {"system": "s", "question": "q", "chosen": "a", "rejected": "b"},
        ("s:s | u:q", "a", "b"),
    ),
    "system_prompt": ({"system_prompt": "s", "prompt": "q", "completion": "a"}, ("s:s | u:q", "a", None)),
    "an empty system": ({"system": "", "question": "q", "chosen": "a", "rejected": "b"}, ("u:q", "a", "b")),
    "history": (
        {"instruction": "q", "output": "a", "history": [["q1", "a1"], ["q2", "a2"]]},
        ("u:q1 | a:a1 | u:q2 | a:a2 | u:q", "a", None),
    ),
    "a dialogue of HH-RLHF": (
        {
            "chosen": "\n\nHuman: q1\n\nAssistant: a1\n\nHuman: q\n\nAssistant: a",
            "rejected": "\n\nHuman: q1\n\nAssistant: a1\n\nHuman: q\n\nAssistant: b",
        },
        ("u:q1 | a:a1 | u:q", "a", "b"),
    ),
    "a ranking of whole dialogues": (
        {"prompt": "q", "responses": [[*THEN, assistant("a")], [*THEN, assistant("b")]], "scores": [2, 1]},
        ("u:q | a:x | u:r", "a", "b"),
    ),
    "a choice of whole dialogues beside their first question": (
        {
            "prompt": "q",
            "conversation_a": [*THEN, assistant("b")],
            "conversation_b": [*THEN, assistant("a")],
            "winner": "model_b",
        },
        ("u:q | a:x | u:r", "a", "b"),
    ),
    "a system turn in one of two dialogues": (
        {"chosen": [system("s"), user("q"), assistant("a")], "rejected": [user("q"), assistant("b")]},
        ("s:s | u:q", "a", "b"),
    ),
    "a system beside two dialogues": (
        {"system": "s", "chosen": [user("q"), assistant("a")], "rejected": [user("q"), assistant("b")]},
        ("s:s | u:q", "a", "b"),
    ),
    "a system and a prompt beside two dialogues": (
        {"system": "s", "prompt": "q", "chosen": [user("q"), assistant("a")], "rejected": [user("q"), assistant("b")]},
        ("s:s | u:q", "a", "b"),
    ),
    "an earlier turn that is not learned from": (
        {"messages": [user("q"), {**assistant("x"), "weight": 0}, user("r"), {**assistant("a"), "weight": 1}]},
        ("u:q | a:x | u:r", "a", None),
    ),
    "Capybara, several exchanges": (
        {"conversation": [{"input": "q", "output": "x"}, {"input": "r", "output": "a"}]},
        ("u:q | a:x | u:r", "a", None),
    ),
    "LIMA, a question behind an exchange": ({"conversations": ["q", "x", "r"]}, ("u:q | a:x | u:r", None, None)),
    "LMSYS, Kaggle, a tie": (
        {
            "prompt": ["q"],
            "response_a": ["a"],
            "response_b": ["b"],
            "winner_model_a": 0,
            "winner_model_b": 0,
            "winner_tie": 1,
        },
        ("u:q", None, None),
    ),
    "a history that the dialogue repeats": (
        {"history": [["q", "x"]], "messages": [*THEN, assistant("a")]},
        ("u:q | a:x | u:r", "a", None),
    ),
    "a system turn that the prompt leaves out": (
        {
            "prompt": "q",
            "chosen": [{"role": "system", "content": "s"}, user("q"), assistant("a")],
            "rejected": [{"role": "system", "content": "s"}, user("q"), assistant("b")],
        },
        ("s:s | u:q", "a", "b"),
    ),
    "ShareGPT's system": (
        {"conversations": [says("system", "s"), says("human", "q"), says("gpt", "a")]},
        ("s:s | u:q", "a", None),
    ),
    "MT-Bench": ({"question_id": 1, "category": "c", "turns": ["q", "then?"]}, ("u:q", None, None)),
    "a prompt": ({"prompt": "q"}, ("u:q", None, None)),
    "a dialogue that ends in a question": (
        {"messages": [user("q"), assistant("a"), user("why?")]},
        ("u:q | a:a | u:why?", None, None),
    ),
    "a prompt that only mentions Human:": ({"prompt": "Human: say hi"}, ("u:Human: say hi", None, None)),
    "HelpSteer3, a tie": (
        {"context": [user("q")], "response1": "a", "response2": "b", "overall_preference": 0},
        ("u:q", None, None),
    ),
    "Chatbot Arena, a tie": (
        {"prompt": "q", "response_a": "a", "response_b": "b", "winner": "tie (bothbad)"},
        ("u:q", None, None),
    ),
    "HelpSteer2, a score alone": ({"prompt": "q", "response": "a", "helpfulness": 0}, ("u:q", None, None)),
}


@pytest.mark.parametrize(("record", "row"), LONGER.values(), ids=LONGER)
def test_longer_prompts_and_no_answers(record: Mapping[str, Any], row: tuple[str, str | None, str | None]) -> None:
    """Protects what stands around a question, and prompts whose answers nothing may be learned from."""
    assert [describe(read_row) for read_row in read(record)] == [row]


def test_helpsteer2_pairs_answers_to_one_prompt() -> None:
    """Protects HelpSteer2, which has two scored answers a prompt, one behind the other: the less helpful one is rejected."""
    scored = [("q", "bad", 1), ("q", "good", 3), ("r", "one", 2), ("q", "later", 0)]
    rows = read(*({"prompt": p, "response": r, "helpfulness": h, "correctness": 1} for p, r, h in scored))
    assert [describe(row) for row in rows] == [PAIR, ("u:r", None, None), ("u:q", None, None)]
    assert rows[0].margin == 2


def test_joined_answers_keep_what_stands_beside_them() -> None:
    """Protects a system turn, a history and an id beside HelpSteer2's answers, and the notes on fields that are not read."""
    beside = {"prompt": "q", "system": "s", "history": [["q0", "a0"]], "id": "mine", "coherence": 3}
    reading = FileReading()
    records = [{**beside, "response": "bad", "helpfulness": 1}, {**beside, "response": "good", "helpfulness": 3}]
    [(_, row)] = reading.read_rows((f"f:{n}", record) for n, record in enumerate(records, 1))
    assert describe(row) == ("s:s | u:q0 | a:a0 | u:q", "good", "bad") and row.prompt.id == "mine"
    assert reading.write_notes() == ["Fields that are not read: `coherence`."]


def test_only_answers_to_the_same_prompt_are_joined() -> None:
    """Protects from pairs of answers under different histories; ids that differ are the records' own and part nothing."""
    records = [
        {"prompt": "q", "history": [["q0", "a0"]], "response": "a", "helpfulness": 1},
        {"prompt": "q", "history": [["q1", "a1"]], "response": "b", "helpfulness": 3},
    ]
    assert [describe(row) for row in read(*records)] == [
        ("u:q0 | a:a0 | u:q", None, None),
        ("u:q1 | a:a1 | u:q", None, None),
    ]
    [row] = read(
        *({"prompt": "q", "id": text, "response": text, "helpfulness": n} for n, text in enumerate(("bad", "good")))
    )
    assert describe(row) == PAIR and row.prompt.id == read({"prompt": "q"})[0].prompt.id


REPLIES = [
    {"message_id": "b", "parent_id": "a", "role": "assistant", "text": "good", "rank": 0},
    {"message_id": "c", "parent_id": "a", "role": "assistant", "text": "bad", "rank": 1},
    {"message_id": "d", "parent_id": "b", "role": "prompter", "text": "and?"},
    {"message_id": "e", "parent_id": "d", "role": "assistant", "text": "so.", "rank": None},
    {"message_id": "f", "parent_id": "d", "role": "assistant", "text": "spam", "deleted": True},
]
ROOT = {"message_id": "a", "parent_id": None, "role": "prompter", "text": "q"}


def test_openassistant_trees_nested_and_flat() -> None:
    """Protects both forms of OASST: ranked replies are a ranking, a single one a demonstration, deleted ones nothing."""

    def nest(message: Mapping[str, Any]) -> dict[str, Any]:
        replies = [nest(reply) for reply in REPLIES if reply["parent_id"] == message["message_id"]]
        return {**message, "replies": replies}

    nested = read({"message_tree_id": "a", "tree_state": "ready_for_export", "prompt": nest(ROOT)})
    flat = read(*({**message, "message_tree_id": "a", "lang": "en"} for message in (*REPLIES, ROOT)))
    assert nested == flat
    assert [describe(row) for row in nested] == [PAIR, ("u:q | a:good | u:and?", "so.", None)]
    assert [len(row.ranked) for row in nested] == [2, 0]
    with pytest.raises(UserError, match="f:1: the parent message 'x' is not in the file"):
        read({**REPLIES[0], "message_tree_id": "a", "parent_id": "x"})
    with pytest.raises(UserError, match=r"f:3: an earlier message has the same id 'b' \(f:1\)"):
        read(*({**message, "message_tree_id": "a"} for message in (REPLIES[0], ROOT, REPLIES[0])))


def test_the_gap_of_scores_is_the_margin() -> None:
    """Protects reward models with margins; an order that the record's own scores contradict teaches nothing."""
    [row] = read(PAIRS["UltraFeedback binarized"])
    assert row.margin == 6.0
    with pytest.raises(UselessRecordError, match="the better answer scores lower"):
        read({**PAIRS["UltraFeedback binarized"], "score_chosen": 1.0})
    for names in (("chosen_reward", "rejected_reward"), ("rating_chosen", "rating_rejected")):  # NeMo, Capybara
        pair = {"prompt": "q", "chosen": "good", "rejected": "bad"}
        assert read({**pair, **dict(zip(names, (5, "2"), strict=True))})[0].margin == 3.0
        with pytest.raises(UselessRecordError, match="the better answer scores lower"):
            read({**pair, **dict(zip(names, (2, 5), strict=True))})


def test_verl_keeps_the_ground_truth_for_a_judge() -> None:
    """Protects verl's records: prompts for PPO as they are; where a judge is named, the ground truth is a hidden test."""
    record = {"data_source": "gsm8k", "prompt": [user("q")], "reward_model": {"style": "rule", "ground_truth": "42"}}
    [(_, row)] = FileReading().read_rows([("f:1", record)])
    assert not isinstance(row.prompt, Problem)
    [(_, tested)] = FileReading(tested=True).read_rows([("f:1", record)])
    assert isinstance(tested.prompt, Problem) and tested.prompt.hidden_tests == (Test(None, "42"),)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"chosen": [user("q"), assistant("a")], "rejected": [user("r"), assistant("b")]}, "the two prompts differ"),
        ({"prompt": "q", "chosen": "a", "rejected": [user("r"), assistant("b")]}, "the two prompts differ"),
        (
            {"chosen": "\n\nHuman: q\n\nAssistant: a\n\nHuman: b", "rejected": "\n\nHuman: q\n\nAssistant: a"},
            "human turn",
        ),
        ({"chosen": [user("q"), assistant("a"), user("b")], "rejected": [user("q"), assistant("b")]}, "human turn"),
        ({"prompt": [user("q"), assistant("a")], "completion": "b"}, "does not end in a human turn"),
        *(
            (record, "two prompts differ")
            for record in (
                {"prompt": "q", "chosen": [*THEN, assistant("a")], "rejected": [user("q"), assistant("b")]},
                {"prompt": "q", "chosen": [*THEN, assistant("a")], "rejected": "b"},
                {
                    "prompt": [user("q")],
                    "chosen": [user("q"), user("r"), assistant("a")],
                    "rejected": [user("q"), assistant("b")],
                },
                {"messages": [user("q"), assistant("a")], "rejected_messages": [*THEN, assistant("b")]},
                {"messages": [*THEN, assistant("a")], "rejected_messages": [user("q"), assistant("b")]},
                {
                    "prompt": "q",
                    "conversation_a": [*THEN, assistant("a")],
                    "conversation_b": [user("q"), assistant("b")],
                    "winner": "model_a",
                },
                {
                    "prompt": ["q", "r"],
                    "response_a": ["x", "a"],
                    "response_b": ["y", "b"],
                    "winner_model_a": 1,
                    "winner_model_b": 0,
                    "winner_tie": 0,
                },
                {"prompt": "q", "responses": [[*THEN, assistant("a")], "b"], "scores": [1, 2]},
                {
                    "chosen": [system("s"), user("q"), assistant("a")],
                    "rejected": [system("t"), user("q"), assistant("b")],
                },
            )
        ),
        ({"prompt": "q", "response": "bad", "helpfulness": None, "correctness": 0}, "its `helpfulness` is null"),
        *(
            ({"messages": [user("q"), {"role": role, "content": "1"}, assistant("a")]}, "something other than text")
            for role in ("tool", "Tool_Response", "function_call", "environment")
        ),
        *(
            ({"messages": [user("q"), {"role": "assistant", "content": [part]}]}, "something other than text")
            for part in ({"type": "image", "text": "", "image": "x"}, {"type": "thinking", "text": "hm"})
        ),
        ({"messages": [user("q"), {"role": "assistant", "content": None}]}, "something other than text"),
        (
            {"messages": [user("q"), {**assistant("I look it up."), "tool_calls": [{"id": "1"}]}]},
            "something other than text",
        ),
        (
            {
                "messages": [
                    user("q"),
                    {**assistant("I look."), "function_call": {"name": "f"}},
                    user("r"),
                    assistant("a"),
                ]
            },
            "something other than text",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "text": None}]}, assistant("a")]},
            "something other than text",
        ),
        *(
            ({"messages": [user("q"), {**assistant("a"), **mark}]}, "marked as excluded from training")
            for mark in ({"weight": 0}, {"weight": 0.0}, {"loss": False}, {"train": False})
        ),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}, assistant("a")]}, "something other than text"),
    ],
)
def test_useless_records_are_left_out_and_counted(record: Mapping[str, Any], reason: str) -> None:
    """Protects a file of which a few records teach nothing: the others are read, and the notes say how many went and why."""
    reading = FileReading()
    rows = list(reading.read_rows([("f:1", dict(record)), ("f:2", {"prompt": "q", "completion": "good"})]))
    assert [describe(row) for _, row in rows] == [ANSWERED]
    [note] = [note for note in reading.write_notes() if "left out" in note]
    assert note.startswith("1 record left out because") and reason in note
    with pytest.raises(UselessRecordError):
        read(record)


@pytest.mark.parametrize(
    ("chosen", "rejected", "row"),
    [
        ("The sky is blue.", "The sky is brown.", ("u:The sky is", "blue.", "brown.")),
        ("Q: 2+2?\nA: 4\n", "Q: 2+2?\nA: 45\n", ("u:Q: 2+2?\nA:", "4", "45")),
        ("Say it\nyes", "Say it no", ("u:Say it", "yes", "no")),
    ],
)
def test_texts_without_a_prompt_part_where_words_part(chosen: str, rejected: str, row: tuple[str, str, str]) -> None:
    """Protects TRL's implicit prompt as texts: no word is cut, a system turn stands before, and a note says how it is read."""
    reading = FileReading()
    [(_, found)] = reading.read_rows([("f:1", {"chosen": chosen, "rejected": rejected, "system": "s"})])
    assert describe(found) == (f"s:s | {row[0]}", *row[1:])
    assert reading.write_notes() == [
        "1 pair without a prompt: the words with which both texts begin are read as the prompt, and the rest as the answers."
    ]


@pytest.mark.parametrize(
    ("chosen", "rejected", "complaint"),
    [
        ("Yes", "Yet", "`prompt` is missing"),
        ("", "b", "`prompt` is missing"),
        ("Is it so? Yes", "Is it so? Yes indeed", "one of its texts is the beginning of the other"),
        ("the same text", "the same text", "one of its texts is the beginning of the other"),
        ("User: hi\nAssistant: yes", "User: hi\nAssistant: no", "look like dialogues with unknown turn marks"),
        ("<|im_start|>user\nhi ok yes", "<|im_start|>user\nhi ok no", "look like dialogues with unknown turn marks"),
    ],
)
def test_texts_whose_prompt_is_not_clear_are_refused(chosen: str, rejected: str, complaint: str) -> None:
    """Protects from a prompt that is guessed: half a word, a whole answer, or turns of a dialogue that nobody parts."""
    with pytest.raises(UserError, match=complaint):
        read({"chosen": chosen, "rejected": rejected})


@pytest.mark.parametrize(
    "other",
    [
        {"post": "Tell me"},
        {"context": "Tell me"},
        {"chat": [user("Tell me")]},
        {"turn": user("Tell me")},
        {"ask": "你好吗"},
    ],
)
def test_a_question_in_an_unknown_field_is_not_lost(other: Mapping[str, Any]) -> None:
    """Protects from the common beginning as the prompt while the question stands in a field that nobody reads."""
    record: dict[str, Any] = {**other, "chosen": "The cat is", "rejected": "The dog is"}
    [(name, value)] = other.items()
    with pytest.raises(
        UserError, match=f"f:1: no known field .* `fields: {{prompt: {name}}}`.*`fields: {{{name}: null}}`"
    ):
        read(record)
    [(_, row)] = FileReading({"prompt": name}).read_rows([("f:1", record)])
    assert describe(row) == (f"u:{value if name == 'ask' else 'Tell me'}", "The cat is", "The dog is")
    [(_, row)] = FileReading(check_names({name: None})).read_rows([("f:1", record)])
    assert describe(row) == ("u:The", "cat is", "dog is")
    with pytest.raises(UserError, match="`fields` refers to 'pots', but no record has this field"):
        list(FileReading(check_names({"pots": None, name: None})).read_rows([("f:1", record)]))
    marked = {
        "source": "the web",
        "quality": "high",
        "scores": [1, 2],
        "chosen": "The cat is",
        "rejected": "The dog is",
    }
    assert describe(read(marked)[0]) == ("u:The", "cat is", "dog is")


def test_ultrainteract_asks_in_its_trajectory() -> None:
    """Protects UltraInteract's pairs, whose question stands in `trajectory`, from a prompt made of the answers' first words."""
    said = [
        {"from": "user", "value": "Solve 2+2"},
        {"from": "assistant", "value": "5"},
        {"from": "user", "value": "No."},
    ]
    answers = {"chosen": "Step 1: add\nans 4", "rejected": "Step 1: sub\nans 0"}
    reading = FileReading()
    [(_, row)] = reading.read_rows([("f:1", {"trajectory": said, **answers})])
    assert describe(row) == ("u:Solve 2+2 | a:5 | u:No.", answers["chosen"], answers["rejected"])
    assert reading.write_notes() == []
    [row] = read({"prompt": "q", "completion": "a", "trajectory": said})
    assert describe(row) == ("u:q", "a", None)


def test_winner_and_loser_may_be_names_of_models() -> None:
    """Protects from names of models that are read as answers: other fields hold the answers then."""
    [row] = read({"prompt": "q", "winner": "gpt", "loser": "llama", "response_gpt": "a", "response_llama": "b"})
    assert describe(row) == ("u:q", None, None)


def test_acecode_nests_its_dialogue() -> None:
    """Protects AceCode: a prompt in a list of one dialogue, with tests that are assertions."""
    [row] = read({"question": "q", "context_messages": [[user("q")]], "test_cases": ["assert f(1) == 2"]})
    assert describe(row) == ("u:q", None, None)
    assert isinstance(row.prompt, Problem) and len(row.prompt.hidden_tests) == 1


@pytest.mark.parametrize(
    "tests", [[["assert f(1) == 2", "assert(f(2) == 3)"]], [["assert f(1) == 2"], ["assert(f(2) == 3)"]]]
)
@pytest.mark.parametrize("write", [list, json.dumps])
def test_nested_assertions(tests: Any, write: Any) -> None:
    """Protects from two assertions in one list that are taken for an input and the output that it should give."""
    [row] = read({"question": "q", "test_cases": write(tests), "inferences": [{"completion": "x", "pass_rate": 0.5}]})
    assert isinstance(row.prompt, Problem) and row.answer is None
    assert [test.input for test in row.prompt.hidden_tests] == ["assert f(1) == 2", "assert(f(2) == 3)"]


def test_an_answer_may_quote_a_dialogue() -> None:
    """Protects an answer that is a written dialogue from being cut where the dialogue's assistant speaks."""
    [row] = read({"prompt": "Write a dialogue.", "completion": "Human: hi\n\nAssistant: hello"})
    assert describe(row) == ("u:Write a dialogue.", "Human: hi\n\nAssistant: hello", None)


@pytest.mark.parametrize("text", ['[{"value": 3}]', '{"role": "admin"}', '["hi"]'])
def test_an_answer_may_be_json(text: str) -> None:
    """Protects answers that are JSON themselves from being taken for messages."""
    [row] = read({"prompt": "q", "completion": text})
    assert describe(row) == ("u:q", text, None)


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        (
            {"messages": "[{'role': 'user', 'content': 'q'}\n {'role': 'assistant', 'content': 'a'}]"},
            "commas between messages",
        ),
        ({"prompt": "q", "completion": '[{"role": "assistant", "content": "a'}, "`completion` begins like a list"),
        ({"conversation": "User: hi\nAssistant: hello"}, "`conversation` must be a list of messages"),
        ({"dialogue": "hi", "chosen": "a", "rejected": "b"}, "`dialogue` must be a list of messages"),
    ],
)
def test_a_dialogue_that_is_mere_text_is_refused(record: Mapping[str, Any], complaint: str) -> None:
    """Protects from brackets and speakers' names that are trained on as one turn of the user."""
    with pytest.raises(UserError, match=complaint):
        read(record)


def test_unread_fields_are_named_once() -> None:
    """Protects from silence: what no rule reads is said, in every shape, and what a rule reads is not."""
    reading = FileReading()
    records = [
        {"prompt": "q", "completion": "good", "helpfulness": 4, "source": "x"},
        {"prompt": "r", "completion": "good", "level": "easy", "id": 3, "score": 1},
        {"prompt": "q", "chosen": "a", "rejected": "b", "response": "c"},
    ]
    list(reading.read_rows((f"f:{n}", record) for n, record in enumerate(records)))
    [note] = reading.write_notes()
    assert note == "Fields that are not read: `helpfulness`, `source`, `score`, `response`."


@pytest.mark.parametrize(
    ("record", "field"),
    [
        ({"prompt": "q", "history": "they spoke", "response": "a"}, "history"),
        ({"messages": [user("q"), assistant("a")], "context": "x"}, "context"),
        ({"messages": [user("q")], "label": False}, "label"),
        (
            {"messages": [user("q"), {**assistant("a"), "reasoning_content": "hm", "name": None}]},
            "messages.reasoning_content",
        ),
        ({"prompt": "q", "completion": [{**assistant("a"), "thinking": "hm", "weight": 1}]}, "completion.thinking"),
        ({"prompt": "q", "completion": "a", "label": True, "kto_tag": True}, "kto_tag"),
        ({"prompt": "q", "instruction": "r", "completion": "a"}, "instruction"),
        ({"prompt": "q", "messages": [user("r"), assistant("b")], "chosen": "a", "rejected": "b"}, "messages"),
    ],
)
def test_an_unread_part_of_the_prompt_is_named(record: Mapping[str, Any], field: str) -> None:
    """Protects from a prompt that lost its passage or its history without a word."""
    reading = FileReading()
    list(reading.read_rows([("f:1", dict(record))]))
    assert reading.write_notes() == [f"Fields that are not read: `{field}`."]


def test_a_passage_that_is_no_text_is_refused() -> None:
    """Protects from a question whose passages are dropped because nobody can read their form."""
    with pytest.raises(UserError, match=r"f:1: `context` belongs to the question\. The field must contain text"):
        read({"question": "q", "context": {"title": ["x"]}, "answer": "a"})


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"prompt": "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n", "completion": "a"}, True),
        ({"prompt": "<s>[INST] q [/INST]", "chosen": "a", "rejected": "b"}, True),
        ({"prompt": "q", "chosen": "a", "rejected": "b</s>\n"}, True),
        ({"messages": [user("q"), assistant("a<end_of_turn>")]}, True),
        ({"prompt": "What is <|im_start|>?", "completion": "<s> begins a text, and [INST] a question."}, False),
    ],
)
def test_marks_of_a_template_in_the_texts_are_said(record: Mapping[str, Any], said: bool) -> None:
    """Protects from training on dialogues that were rendered before: their marks are plain text, inside of the model's
    own."""
    reading = FileReading()
    list(reading.read_rows([("f:1", record)]))
    assert any(note.startswith("1 record with marks of a chat template") for note in reading.write_notes()) == said


def test_a_missing_label_among_labels_is_said() -> None:
    """Protects a null label, also as pandas and Python write it: it counts as absent, and the notes say how many answers that
    makes good ones."""
    reading = FileReading()
    records = [
        {"prompt": f"{n}", "completion": "a", "label": label}
        for n, label in enumerate((True, None, False, "None", "null", float("nan"), "NaN", " "))
    ]
    rows = [row for _, row in reading.read_rows((f"f:{n}", record) for n, record in enumerate(records))]
    assert [row.rated for row in rows] == [True, False, True, False, False, False, False, False]
    assert reading.write_notes() == ["6 answers without a label: taken as good, because other answers have labels."]


def test_a_wrong_last_speaker_is_said() -> None:
    """Protects SFT data of which some dialogues lack their answer; where all do, they are meant as prompts."""
    asked, answered = {"messages": [user("q")]}, {"messages": [user("q"), assistant("a")]}
    for records, notes in (
        ((asked, answered, asked), ["2 dialogues taken as prompts, because the last turn is a human's turn."]),
        ((asked, asked), []),
        (
            (answered, {**answered, "label": 0}),
            ["1 answer without a label: taken as good, because other answers have labels."],
        ),
    ):
        reading = FileReading()
        list(reading.read_rows((f"f:{n}", dict(record)) for n, record in enumerate(records)))
        assert reading.write_notes() == notes


def test_a_scored_answer_alone_is_said_to_be_unread() -> None:
    """Protects from HelpSteer2's answers of helpfulness 0 as demonstrations, and says why `response` is not read."""
    reading = FileReading()
    list(reading.read_rows([("f:1", {"prompt": "q", "response": "a", "helpfulness": 0})]))
    assert any("`response` is not read in 1 record" in note for note in reading.write_notes())


def test_your_own_names_of_fields() -> None:
    """Protects `fields`: a name, a path, a field that is to be left unread, and names that are nowhere."""
    fields = {"prompt": "meta.question", "chosen": "answers.0", "rejected": "answers.1", "label": None}
    record = {"meta": {"question": "q"}, "answers": ["good", "bad"], "label": "greeting"}
    [(_, row)] = FileReading(fields).read_rows([("f:1", record)])
    assert describe(row) == PAIR
    safer = {**PAIRS["SafeRLHF"]}
    [(_, row)] = FileReading({"better_response_id": "safer_response_id"}).read_rows([("f:1", safer)])
    assert describe(row) == ("u:q", "bad", "good")
    with pytest.raises(UserError, match="`fields` refers to 'lbel', but no record has this field"):
        list(FileReading({"label": "lbel"}).read_rows([("f:1", {"prompt": "q", "completion": "a"})]))


def test_safety_labels_follow_the_answers() -> None:
    """Protects what a cost model learns from: a safety label stays with its response when the choice turns the two, a pair
    may state it for both answers, a pair that does not is unknown, and another value is named."""
    responses = {"prompt": "q", "response_0": "a", "response_1": "b"}
    flags = {"is_response_0_safe": True, "is_response_1_safe": False}
    own = {"id": "1", "level": "", "turns": [["user", "q"]], "chosen": ["a", False], "rejected": ["b", False]}
    for record, safe in (
        ({**responses, **flags, "better_response_id": 0}, (True, False)),
        ({**responses, **flags, "better_response_id": 1}, (False, True)),
        ({**responses, "is_response_0_safe": "False", "better_response_id": "1"}, (None, False)),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "chosen_safe": False, "rejected_safe": 0}, (False, False)),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, (None, None)),
        ({**own, "chosen_safe": True}, (True, None)),
    ):
        [row] = read(record)
        assert row.safe == safe
    with pytest.raises(UserError, match="`is_response_0_safe` must be true or false, not 2"):
        read({**responses, **flags, "better_response_id": 0, "is_response_0_safe": 2})
    reading = FileReading()
    list(reading.read_rows([("f:1", {**responses, **flags, "better_response_id": 0})]))
    assert reading.write_notes() == []


def test_half_a_preference_is_refused() -> None:
    """Protects from a pair that lost one side and would be read as a prompt alone."""
    for record in ({"prompt": "q", "chosen": "a"}, {"prompt": "q", "rejected": "a", "completion": "b"}):
        with pytest.raises(UserError, match="A preference needs both"):
            read(record)


def test_every_shape_is_within_reach() -> None:
    """Protects the table: no shape stands behind one that takes all of its records."""
    values: dict[str, Any] = {"prompt": "q", "reward_model": {"ground_truth": 1}, "turns": ["q"]}
    for shape in SHAPES:
        if shape.when is None or shape.name == "verl":
            record = {field: values.get(field, "text") for field in shape.needs}
            named = recognise(record)
            assert named is not None and set(named.needs) == set(shape.needs), shape


JUNK: tuple[Any, ...] = (
    None,
    "",
    "x",
    0,
    -1,
    2.5,
    True,
    [],
    [[]],
    [None],
    ["x"],
    {},
    {"x": 1},
    [{}],
    [{"role": 1}],
    "\ud800",
)
"""What stands in the place of any part of a record."""


def mutations(value: Any) -> list[Any]:
    """The value with each of its parts, at any depth, replaced by each kind of junk, or left out."""
    changed: list[Any] = list(JUNK)
    if isinstance(value, dict):
        for name in value:
            changed += [{**value, name: part} for part in mutations(value[name])]
            changed.append({key: part for key, part in value.items() if key != name})
    if isinstance(value, list):
        for place in range(len(value)):
            changed += [[*value[:place], part, *value[place + 1 :]] for part in mutations(value[place])]
    return changed


OTHERS: list[Mapping[str, Any]] = [
    {"message_tree_id": "a", "prompt": {**ROOT, "replies": [{**reply, "replies": []} for reply in REPLIES[:2]]}},
    {**ROOT, "message_tree_id": "a"},
    {"prompt": "q", "response": "a", "helpfulness": 0},
    {"id": "1", "level": "", "turns": [["user", "q"]], "chosen": ["a", False], "rejected": ["b", False]},
    {"id": "1", "level": "", "turns": [["user", "q"]], "completions": [["a", False], ["b", False]], "scores": [1, 0]},
    {"prompt": "q", "reward_model": {"ground_truth": "1"}},
    {"prompt": "q", "tests": [{"input": "1", "output": "2"}], "special": "print('right')"},
    {"prompt": "q", "tests": {"inputs": ["1"], "outputs": ["2"], "fn_name": "f"}},
    {"prompt": "q", "test_list": ["assert f(1) == 2"], "test_imports": ["import math"]},
    {"question_id": 1, "turns": ["q", "then?"]},
]


def complaint(record: Mapping[str, Any]) -> str:
    """Why a record is refused; empty where it is read."""
    try:
        read(record)
    except UserError as error:
        return str(error)
    return ""


def test_no_junk_is_a_traceback() -> None:
    """Protects every reader: whatever stands in the place of a part, a record is read, or refused in words that say where."""
    for record in (*PAIRS.values(), *SINGLE.values(), *LIKED, *(record for record, _ in LONGER.values()), *OTHERS):
        for changed in mutations(dict(record)):
            if isinstance(changed, dict):
                why = complaint(changed)
                assert not why or why.startswith("f:1"), (changed, why)
