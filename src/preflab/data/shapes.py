"""Contains the table of record shapes. Each shape lists the fields that a record of this shape must have, and the
function that reads such a record.

If several shapes fit a record, the first of them in the table is used. A shape names the fields that contain the
answers and the fields that compare the answers. The module `prompts` reads the prompt from other fields, such as
`prompt`, `question`, `instruction` with `input`, or `messages`. The turns from `system` and `history` come before this
prompt. A null field counts as absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from itertools import chain
from typing import NamedTuple

from preflab.data.answer_names import BARE_PAIRS, CHOICE_FIELDS, LETTERED, NUMBERED, PAIRS
from preflab.data.answers import (
    read_first_turn,
    read_ground_truth,
    read_messages,
    read_prompt_alone,
    read_reply,
    read_scored,
    read_single,
)
from preflab.data.choices import (
    EQUAL,
    FIRST_BETTER,
    SECOND_BETTER,
    read_choice,
    read_numbered_choice,
    read_preference_strength,
    read_safe_choice,
    read_two_scores,
)
from preflab.data.kaggle import KAGGLE_CHOICES, read_kaggle
from preflab.data.labels import LABEL_FIELDS, FileLabels
from preflab.data.messages import ends_in_question, is_empty, list_unread_keys
from preflab.data.oasst import read_tree
from preflab.data.pairs import read_messages_and_worse, read_pair, read_texts_alone
from preflab.data.preflab_format import read_own_pair, read_own_ranking
from preflab.data.prompts import (
    COMMON_FIELDS,
    DIALOGUE_FIELDS,
    PROMPT_FIELDS,
    QUESTION_FIELDS,
    find_field,
    find_question,
    name_prompt_fields,
)
from preflab.data.rankings import read_ordered, read_ranked_answers, read_ranking
from preflab.data.row import DataRecord, DialogueRow
from preflab.data.safety import PAIR_SAFE, RESPONSES_SAFE
from preflab.data.shared_beginning import holds_texts_alone

PREFERENCE = "preference"
TWO_ANSWERS = "two answers and a choice"
ORDERED = "answers in order, the best one first"
SCORED = "HelpSteer2"
TEXTS_ALONE = "preference, its prompt at the beginning of both texts"
DIALOGUES = ("messages", "ShareGPT")
VERL = "verl"
TACO_LEVELS = ("UNKNOWN_DIFFICULTY", "EASY", "MEDIUM", "MEDIUM_HARD", "HARD", "VERY_HARD")
Read = Callable[[DataRecord, str, FileLabels], Iterable[DialogueRow]]


class Shape(NamedTuple):
    """One shape of records. `needs`: the fields that a record of this shape must have. `when`: a further condition that
    the record must fulfil. `also`: optional fields that are read. `read`: the function that reads the record.
    `testbed`: for a programming data set, the name of the testbed that reads the record instead of `read`."""

    name: str
    needs: tuple[str, ...]
    read: Read = read_prompt_alone
    also: tuple[str, ...] = ()
    when: Callable[[DataRecord], bool] | None = None
    testbed: str = ""

    @property
    def fields(self) -> frozenset[str]:
        """All fields that may be read in a record of this shape."""
        return _join_fields(self.needs, self.also)


@lru_cache(maxsize=512)
def _join_fields(needs: tuple[str, ...], also: tuple[str, ...]) -> frozenset[str]:
    return frozenset((*needs, *also)) | COMMON_FIELDS


def recognise(record: DataRecord) -> Shape | None:
    """Returns the first shape that fits a record. Returns None if no shape fits. The record must not contain null
    fields."""
    candidates = _shapes_with(frozenset(record))
    return next((shape for shape in candidates if shape.when is None or shape.when(record)), None)


def name_unread(shape: Shape, record: DataRecord) -> list[str]:
    """Returns the names of the fields that have a value in a record but are not read by its shape. The list includes
    fields of the record's messages, such as `messages.reasoning_content`."""
    dialogue = find_field(record, (name for name in shape.needs if name in DIALOGUE_FIELDS))
    prompt_names = name_prompt_fields(record, dialogue or find_question(record))
    unread = [
        name
        for name in record
        if name not in prompt_names
        and (name in PROMPT_FIELDS or name not in shape.fields)
        and not is_empty(record[name])
    ]
    labelled = LABEL_FIELDS[0] in shape.also
    inside = (
        f"{name}.{key}"
        for name in record
        if name not in unread
        for key in sorted(list_unread_keys(record[name], labelled=labelled and name in shape.needs))
    )
    return [*unread, *inside]


@lru_cache(maxsize=512)
def _shapes_with(fields: frozenset[str]) -> tuple[Shape, ...]:
    """Returns the shapes that need no other fields than `fields`."""
    return tuple(filter(lambda shape: fields.issuperset(shape.needs), SHAPES))


def _holds_mappings(field: str, key: str) -> Callable[[DataRecord], bool]:
    return lambda record: (
        isinstance(record[field], list)
        and len(record[field]) > 0
        and all(isinstance(item, dict) and key in item for item in record[field])
    )


def _holds_scored(field: str, key: str) -> Callable[[DataRecord], bool]:
    """Returns a function that checks a record. The check passes if `field` contains a list of several answers, and all
    answers have the same kind of score. The check fails if the record has a field `chosen` or `rejected`."""
    holds, lacks = _holds_mappings(field, key), _lacks("chosen", "rejected")
    return lambda record: (
        lacks(record)
        and holds(record)
        and len(record[field]) > 1
        and any(all(item.get(name) is not None for item in record[field]) for name in _SCORES)
    )


def _is_list_of_several(field: str) -> Callable[[DataRecord], bool]:
    return lambda record: isinstance(record[field], list) and len(record[field]) > 1


def _is_list_of_lists(field: str) -> Callable[[DataRecord], bool]:
    return lambda record: isinstance(record[field], list) and all(isinstance(item, list) for item in record[field])


def _lacks(*fields: str) -> Callable[[DataRecord], bool]:
    return lambda record: not any(field in record for field in fields)


def _asks(field: str) -> Callable[[DataRecord], bool]:
    return lambda record: ends_in_question(record[field])


def _hold_answers(*fields: str) -> Callable[[DataRecord], bool]:
    """Returns a function that checks whether `fields` of a record contain answers. The check fails in two cases. In the
    first case, another field of the record may contain an answer, so `fields` probably contain the names of models. In
    the second case, the value of one of `fields` is `model_a`, `model_b` or the name of a field, and not an answer."""
    answer_prefixes = ("response", "answer", "completion", "output", "model", "conversation_")
    return lambda record: (
        not any(name.startswith(answer_prefixes) for name in record)
        and not any(record[field] in ("model_a", "model_b", *record) for field in fields)
    )


def _name_choices(texts: tuple[str, str]) -> dict[str, str]:
    """Returns the meaning of the values in a choice field. Each value is the name of the field with the better answer.
    `texts`: the names of the fields with the first answer and the second answer. The result maps the first name to
    `FIRST_BETTER`, and the second name to `SECOND_BETTER`. Both names are in lower case."""
    return dict(zip(map(str.casefold, texts), (FIRST_BETTER, SECOND_BETTER), strict=True))


_ANSWERS = ("completion", "response", "output", "answer", "target", "targets", "solution")
_ANSWER_LISTS = ("completions", "responses", "generations", "answers", "candidates", "outputs")
_SCORES = ("score", "pm_score", "rank", "rating", "reward", "overall_score")
_ASKED = (*QUESTION_FIELDS, *DIALOGUE_FIELDS, "context")
_LABELLED = (*_ASKED, *LABEL_FIELDS)
_COMPARED = (*_ASKED, *PAIR_SAFE)
_FIRST, _SECOND = ("a", "model_a", "a>b", "a>>b"), ("b", "model_b", "b>a", "b>>a")
_LETTERS = dict.fromkeys(_FIRST, FIRST_BETTER) | dict.fromkeys(_SECOND, SECOND_BETTER) | {"a=b": EQUAL}
_TIES = dict.fromkeys(("tie", "draw", "tie (bothbad)", "both_bad", "bothbad", "both", "neither", "equal"), EQUAL)
_NUMBERED = {"1": FIRST_BETTER, "2": SECOND_BETTER, "0": EQUAL} | _TIES

_PROGRAMS = (
    Shape("EvalPlus", ("base_input", "canonical_solution", "entry_point", "plus_input"), testbed="humaneval"),
    Shape("HumanEval", ("canonical_solution", "entry_point", "test"), testbed="humaneval"),
    Shape("MBPP", ("test_list", "code"), testbed="mbpp"),
    Shape("LeetCode", ("completion", "entry_point", "query", "test"), testbed="leetcode"),
    Shape("APPS", ("problem_id", "input_output", "question"), testbed="apps"),
    Shape(
        "TACO",
        ("difficulty", "input_output", "question"),
        testbed="apps",
        when=lambda r: r["difficulty"] in TACO_LEVELS,
    ),
    Shape("APPS", ("test_list", "starter_code", "description"), testbed="apps"),
    Shape("LiveCodeBench", ("question_content", "public_test_cases"), testbed="livecodebench"),
    Shape("KodCode", ("question", "solution", "test"), testbed="kodcode"),
    Shape("CodeContests", ("description", "tests"), testbed="code_contests", when=_lacks("prompt")),
    Shape("CodeContests", ("description", "public_tests"), testbed="code_contests", when=_lacks("prompt")),
    Shape("CodeContests", ("content", "test"), testbed="code_contests", when=_lacks("prompt")),
)
_OWN = (
    Shape("preflab", ("turns", "chosen", "rejected"), read_own_pair, PAIR_SAFE, _is_list_of_lists("turns")),
    Shape("preflab", ("turns", "completions", "scores"), read_own_ranking, (), _is_list_of_lists("turns")),
)
_RANKINGS = (
    Shape("OpenAssistant tree", ("prompt", "message_tree_id"), read_tree, when=lambda r: isinstance(r["prompt"], dict)),
    Shape(
        "UltraFeedback",
        ("completions",),
        partial(read_ranked_answers, "completions", "response", ("overall_score", "fine-grained_score", "score")),
        _ASKED,
        _holds_mappings("completions", "response"),
    ),
    Shape(
        "Nectar",
        ("answers",),
        partial(read_ranked_answers, "answers", "answer", ("rank", "score", "rating")),
        _ASKED,
        _holds_mappings("answers", "answer"),
    ),
    *(
        Shape("ranking", (texts, scores), partial(read_ranking, texts, scores), _ASKED, _lacks("chosen", "rejected"))
        for texts in _ANSWER_LISTS
        for scores in ("scores", "ratings", "rating", "rewards", "ranks", "rank")
    ),
    *(
        Shape(
            "ranking",
            (texts,),
            partial(read_ranked_answers, texts, key, _SCORES),
            _ASKED,
            _holds_scored(texts, key),
        )
        for texts in _ANSWER_LISTS
        for key in ("text", "response", "answer", "content")
    ),
)
_CHOICES = (
    Shape(
        "SHP",
        ("history", "human_ref_A", "human_ref_B", "labels"),
        partial(read_choice, "human_ref_A", "human_ref_B", "labels", {"1": FIRST_BETTER, "0": SECOND_BETTER}),
    ),
    Shape(
        "SafeRLHF",
        ("response_0", "response_1", "better_response_id"),
        partial(
            read_safe_choice,
            "response_0",
            "response_1",
            "better_response_id",
            {"0": FIRST_BETTER, "1": SECOND_BETTER},
        ),
        (*_ASKED, *RESPONSES_SAFE),
    ),
    Shape("LMSYS, Kaggle", ("prompt", "response_a", "response_b", *KAGGLE_CHOICES), read_kaggle),
    *(
        Shape(name, (*texts, says), partial(read_preference_strength, *texts, says), _ASKED)
        for name, texts, says in (
            ("HelpSteer2 preference", ("response_1", "response_2"), "preference_strength"),
            ("HelpSteer3", ("response1", "response2"), "overall_preference"),
        )
    ),
    *(
        Shape(
            name, (*texts, says), partial(read_numbered_choice, *texts, says, _NUMBERED | _name_choices(texts)), _ASKED
        )
        for name, texts, says in (
            ("LLMBar", ("output_1", "output_2"), "label"),
            ("AlpacaFarm", ("output_1", "output_2"), "preference"),
            *((TWO_ANSWERS, texts, says) for texts in NUMBERED for says in CHOICE_FIELDS),
        )
    ),
    *(
        Shape(name, (*texts, says), partial(read_choice, *texts, says, _LETTERS | _TIES | _name_choices(texts)), _ASKED)
        for name, texts, says in (
            ("Chatbot Arena", ("conversation_a", "conversation_b"), "winner"),
            *((TWO_ANSWERS, texts, says) for texts in LETTERED for says in CHOICE_FIELDS),
        )
    ),
    *(
        Shape("two answers and their scores", (*texts, *scores), partial(read_two_scores, *texts, scores), _ASKED)
        for texts, scores in (
            (("answer_0", "answer_1"), ("score_0", "score_1")),
            (("response_0", "response_1"), ("score_0", "score_1")),
            (("response_1", "response_2"), ("score_1", "score_2")),
        )
    ),
)
_PAIRS = (
    Shape(TEXTS_ALONE, ("chosen", "rejected"), read_texts_alone, PAIR_SAFE, holds_texts_alone),
    *(Shape(PREFERENCE, pair, partial(read_pair, *pair), _COMPARED) for pair in PAIRS),
    *(Shape(PREFERENCE, pair, partial(read_pair, *pair), _COMPARED, _hold_answers(*pair)) for pair in BARE_PAIRS),
    *(
        Shape("ms-swift", (field, rejected), partial(read_messages_and_worse, field, rejected), ("system", *PAIR_SAFE))
        for field in DIALOGUE_FIELDS
        for rejected in ("rejected_response", "rejected_messages")
    ),
)
_SINGLE = (
    Shape(SCORED, ("prompt", "response", "helpfulness"), partial(read_scored, "helpfulness")),
    *(
        Shape("prompt and answer", (field, answer), partial(read_reply, field, answer), _LABELLED, _asks(field))
        for field in DIALOGUE_FIELDS
        for answer in _ANSWERS
    ),
    *(Shape(DIALOGUES[0], (field,), partial(read_messages, field), _LABELLED) for field in DIALOGUE_FIELDS[:1]),
    *(Shape(DIALOGUES[1], (field,), partial(read_messages, field), _LABELLED) for field in DIALOGUE_FIELDS[1:]),
    *(
        Shape(ORDERED, (question, answer), partial(read_ordered, answer), _ASKED, _is_list_of_several(answer))
        for question in ("prompt", "question", "query", "instruction")
        for answer in ("response", "output")
    ),
    *(
        Shape(name, (question, answer), partial(read_single, answer), _LABELLED)
        for name, question, answer in (
            ("prompt and answer", "prompt", "completion"),
            ("Alpaca", "instruction", "output"),
            ("Dolly", "instruction", "response"),
            *(("prompt and answer", question, answer) for question in QUESTION_FIELDS for answer in _ANSWERS),
        )
    ),
)
_PROMPTS_ALONE = (
    Shape(
        VERL,
        ("prompt", "reward_model"),
        read_ground_truth,
        when=lambda r: isinstance(r["reward_model"], dict) and "ground_truth" in r["reward_model"],
    ),
    Shape("MT-Bench", ("turns", "question_id"), read_first_turn),
    *(Shape("prompts", (field,), also=_ASKED) for field in QUESTION_FIELDS),
)
SHAPES: tuple[Shape, ...] = tuple(chain(_PROGRAMS, _OWN, _RANKINGS, _CHOICES, _PAIRS, _SINGLE, _PROMPTS_ALONE))
