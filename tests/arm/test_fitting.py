"""Rows that do not fit the model: found before the first step, named by file and line, left out or cut where that is asked for.

The model is `tiny` with a context of 40 tokens, in which every word of the data is one token.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from inspect import get_annotations, isfunction, signature
from pathlib import Path
from typing import Any, Literal

import pytest

from preflab.arm.execute import execute
from preflab.arm.fitting import FittedTestbed, Fitting
from preflab.arm.spec import Arm
from preflab.errors import UserError
from preflab.evaluation.base import Evaluator, EvaluatorSpec, Grade
from preflab.evaluation.measure import Measure
from preflab.evaluation.settings import Evaluation
from preflab.methods.dpo_iter import DPOIter
from preflab.methods.pairs import PairDraw
from preflab.methods.sft import SFT
from preflab.models.lm import LanguageModel
from preflab.models.spec import TinyShape
from preflab.models.tiny import make_tiny
from preflab.sampling.base import Decoding
from preflab.spec import Context, parse_spec
from preflab.testbeds.base import SPLITS, Testbed
from preflab.testbeds.sentiment import Sentiment
from preflab.train.settings import Keeping
from preflab.types import Completion, Preference, Prompt, Split, Turn

CONTEXT = 40
WORDS = tuple(f"w{number}" for number in range(60)) + ("good", "bad")


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return make_tiny(TinyShape(width=8, inner=8, layers=1, heads=1, context=CONTEXT, words=WORDS), seed=0)


def pair(length: int, *, first: int = 0) -> Preference:
    """A question of so many words, with two answers of one word."""
    words = " ".join(f"w{(first + place) % 60}" for place in range(length))
    return Preference(Prompt("p", (Turn("user", words),)), Completion("good"), Completion("bad"))


def tokens(lm: LanguageModel, row: Preference) -> int:
    return len(lm.encode_prompt(row.prompt)) + max(
        len(lm.encode_completion(answer)) for answer in (row.chosen, row.rejected)
    )


def test_true_values_are_handed_on(lm: LanguageModel) -> None:
    """Protects the evaluators of a world with known values, which see only the fitted testbed."""
    with Sentiment(train=2, validation=1, test=1).open(Context()) as world:
        fitted = FittedTestbed(world, Fitting(lm, "stop", 100), {}, str)
        asked = world.prompts("test"), [Completion("room is good")]
        assert fitted.true_names == world.true_names != ()
        assert fitted.true_values("test", *asked) == world.true_values("test", *asked)


OWN = {"lacks": "makes an error from the name, which is handed on"}
"""The members of `Testbed` that `FittedTestbed` need not hand on, and why."""


def test_every_member_of_a_testbed_is_handed_on(lm: LanguageModel) -> None:
    """Protects what a testbed says of itself: a member of `Testbed` that `FittedTestbed` forgot would have its default there,
    without any error."""
    members = {name for name in (*vars(Testbed), *get_annotations(Testbed)) if not name.startswith("_")}
    methods = {name: value for name, value in vars(Testbed).items() if name in members and isfunction(value)}
    asked: set[str] = set()

    def record(name: str) -> Callable[..., list[Any]]:
        return lambda *arguments: asked.add(name) or []

    inner = type("Inner", (Testbed,), {name: record(name) for name in methods})()
    for name in members - set(methods):
        setattr(inner, name, (name,))
    fitted = FittedTestbed(inner, Fitting(lm, "stop", 100), {"test": 1}, str)
    assert {name: getattr(fitted, name) for name in members - set(methods)} == {
        name: (name,) for name in members - set(methods)
    }
    for name, method in methods.items():
        getattr(fitted, name)(*["test" for _ in signature(method).parameters][1:])
    assert set(methods) - asked == set(OWN)


def test_all_rows_that_fit_are_kept_as_they_are(lm: LanguageModel) -> None:
    """The longest question that fits fits exactly; one word more does not."""
    frame = tokens(lm, pair(1)) - 1
    most = CONTEXT - frame
    rows = [pair(1), pair(most)]
    assert Fitting(lm, "stop", 100).fit(rows, "rows", str) == (rows, "")
    with pytest.raises(UserError, match=r"^1 of 1 row of the pairs do not fit the model's context of 40 tokens"):
        Fitting(lm, "stop", 100).fit([pair(most + 1)], "the pairs", lambda prompt: "a.jsonl, line 7")


def test_rows_are_dropped_and_cut(lm: LanguageModel) -> None:
    """`drop` leaves out what does not fit and says how many; `cut` keeps every row, the end of the question and the whole
    answer, and the result fits as exactly as it can."""
    rows = [pair(3), pair(100), pair(4)]
    kept, note = Fitting(lm, "drop", 100).fit(rows, "the pairs", str)
    assert kept == [rows[0], rows[2]]
    assert note == "1 of 3 rows of the pairs do not fit the model's context of 40 tokens; these rows were left out."
    with pytest.raises(UserError, match=r"^1 of 1 row of the pairs do not fit .* No row is left\. .*--too-long cut"):
        Fitting(lm, "drop", 100).fit(rows[1:2], "the pairs", str)
    kept, note = Fitting(lm, "cut", 100).fit(rows, "the pairs", str)
    assert [kept[0], kept[2]] == [rows[0], rows[2]] and "were shortened" in note
    assert tokens(lm, kept[1]) == CONTEXT
    question = kept[1].prompt.turns[0].content
    assert rows[1].prompt.turns[0].content.endswith(question)
    assert (kept[1].chosen, kept[1].rejected) == (rows[1].chosen, rows[1].rejected)


def test_old_turns_go_first_and_a_long_answer_loses_its_end(lm: LanguageModel) -> None:
    """Of a dialogue the oldest turns go before the last question is touched; an answer of 100 words gets what the question
    leaves, at least half of the context, and counts as truncated: it has no end token."""
    turns = (Turn("user", "w1 " * 30), Turn("assistant", "w2 w3"), Turn("user", "w4 w5"))
    row = Preference(Prompt("p", turns), Completion("good"), Completion("bad " * 100))
    [cut], _ = Fitting(lm, "cut", 200).fit([row], "rows", str)
    assert [turn.content for turn in cut.prompt.turns] == ["w4 w5"]
    assert cut.chosen == row.chosen
    assert cut.rejected.truncated and row.rejected.text.startswith(cut.rejected.text)
    assert len(lm.encode_prompt(cut.prompt)) + len(lm.encode_completion(cut.rejected)) == CONTEXT


def test_a_prompt_needs_room_for_what_is_drawn_alone() -> None:
    """DPO-Iter draws answers of at most 5 tokens and would cut answers of the data at 1024: a prompt needs room for 5. A run on
    a model with a context of 512 was refused for the 1024."""
    method = DPOIter(draw=PairDraw(decoding=Decoding(max_new_tokens=5)))
    assert (method.answer_tokens, method.drawn_tokens) == (1024, 5)
    assert (SFT().answer_tokens, SFT().drawn_tokens) == (1024, 0)


def run_file(tmp_path: Path, rows: list[dict[str, Any]], **changes: Any) -> Arm:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {
        "name": "dpo",
        "device": "cpu",
        "method": {"kind": "dpo", "batch_size": 4, "epochs": 1, "max_completion_tokens": 8},
        "testbed": {"kind": "jsonl", "data": str(path)},
        "model": {"name": "tiny", "tiny": {"width": 8, "inner": 8, "layers": 1, "heads": 1, "context": CONTEXT}},
        "measure": "none",
    }
    return parse_spec(Arm, {**data, **changes}, where="test")


def question(number: int, length: int = 3) -> dict[str, Any]:
    text = " ".join([f"w{number}"] + ["w1"] * length)
    return {"prompt": text, "chosen": "good", "rejected": "bad"}


def test_a_run_stops_before_its_first_step_with_file_and_line(tmp_path: Path) -> None:
    """One prompt of 60 words in line 18: the run names it, exits, and leaves its directory to the mended command, which was
    refused there as "another run" before. With `drop` the same directory trains, and the report is told."""
    rows = [question(number) for number in range(40)]
    rows[17] = question(17, 60)
    directory = tmp_path / "run"
    with pytest.raises(UserError, match=r"do not fit .* The first is .*mine\.jsonl:18, which takes \d+ tokens"):
        execute(run_file(tmp_path, rows), directory, keeping=Keeping(progress=False))
    assert not (directory / "manifest.json").exists() and not (directory / "metrics.jsonl").exists()
    result = execute(run_file(tmp_path, rows, too_long="drop"), directory, keeping=Keeping(progress=False))
    assert [note for note in result.data_notes if note.endswith("these rows were left out.")]


class Words(EvaluatorSpec):
    """Counts the words of an answer."""

    kind: Literal["words"] = "words"

    def measures(self, evaluation: Evaluation) -> tuple[Measure, ...]:
        return (Measure(name="words", better="higher"),)

    @contextmanager
    def open(self, context: Context) -> Generator[Evaluator]:
        yield OpenWords()


class OpenWords(Evaluator):
    def grade(self, split: Split, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Grade]:
        return [Grade(float(len(answer.text.split()))) for answer in completions]


def test_the_validation_prompts_of_a_stage_fit_too(tmp_path: Path) -> None:
    """Protects a stage, whose policy answers validation prompts during training: a prompt of 60 words among them is named with
    its file and line before the first step, and cut where that is asked for. Before, the stage stopped at its first look."""
    (tmp_path / "held.jsonl").write_text("".join(json.dumps(question(n, 60 * (n == 3))) + "\n" for n in range(4)))
    rows = [question(number) for number in range(10, 60)]
    testbed = {"kind": "jsonl", "data": str(tmp_path / "mine.jsonl"), "validation": str(tmp_path / "held.jsonl")}
    changes = {
        "testbed": testbed,
        "evaluators": {"words": {"kind": "tests.arm.test_fitting:Words"}},
        "evaluation": {"samples": 1, "k": [], "temperatures": [1.0], "validation_samples": 1, "max_new_tokens": 4},
        "looks": 1,
    }
    with pytest.raises(UserError, match=r"the prompts of jsonl \(validation\) do not fit .*held\.jsonl:4, which takes"):
        execute(run_file(tmp_path, rows, **changes), tmp_path / "run", keeping=Keeping(progress=False))
    result = execute(
        run_file(tmp_path, rows, **changes, too_long="cut"), tmp_path / "run", keeping=Keeping(progress=False)
    )
    assert "1 of 4 rows of the prompts of jsonl (validation)" in "\n".join(result.data_notes)


def test_what_the_chat_template_does_not_take_is_named_or_dropped(lm: LanguageModel) -> None:
    """A run stopped at such a row in the midst of training, and named it by a hash. It is named by file and line before the
    first step, also beside rows that are too long, `drop` leaves it out, and `cut` does not pretend to mend it."""
    tokenizer = copy.deepcopy(lm.tokenizer)
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
    tokenizer.chat_template = refusing + tokenizer.chat_template
    strict = replace(lm, tokenizer=tokenizer)
    system = replace(pair(3), prompt=Prompt("hash", (Turn("system", "w1"), Turn("user", "w2"))))
    rows = [pair(3), system, pair(100)]
    for rule in ("stop", "cut"):
        with pytest.raises(
            UserError, match=r"^1 of 3 rows of the pairs .* chat template\. The first is a:7\."
        ) as error:
            Fitting(strict, rule, 100).fit(rows, "the pairs", lambda prompt: "a:7")
        assert "no system turn. Drop" in str(error.value) and "--too-long drop" in str(error.value)
        assert "hash" not in str(error.value)
    kept, note = Fitting(strict, "drop", 100).fit(rows, "the pairs", str)
    assert kept == rows[:1]
    assert note.startswith(
        "1 of 3 rows of the pairs do not fit the model's chat template; these rows were left out. 1 of 2"
    )
    with pytest.raises(UserError, match="No row is left"):
        Fitting(strict, "drop", 100).fit([system], "the pairs", str)


@pytest.mark.parametrize(
    ("row", "fault"), [({"rejected": "good"}, "in all of .* pairs"), ({"chosen": "", "rejected": ""}, "in all of")]
)
def test_what_cannot_teach_is_refused(tmp_path: Path, row: dict[str, Any], fault: str) -> None:
    """Pairs that are all chosen == rejected, or all empty, trained with exit code 0."""
    rows = [question(number) | row for number in range(40)]
    with pytest.raises(UserError, match=fault):
        execute(run_file(tmp_path, rows), tmp_path / "run", keeping=Keeping(progress=False))


def test_a_run_says_what_it_learns_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The counts stand on the terminal before the first step: about 80% of 40 pairs, of whose answers "good" is the longer."""
    execute(run_file(tmp_path, [question(number) for number in range(40)]), tmp_path / "run")
    said = next(line for line in capsys.readouterr().err.splitlines() if "learns from" in line)
    assert "pairs for" in said and "the longer answer is chosen in 100%" in said


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_long_answer_of_a_reward_models_held_out_pairs_is_named(tmp_path: Path, split: str) -> None:
    """Protects the number on the test split: a pair there that does not fit stops the run before its first step. Before,
    the run ended well and its result had no such number."""
    held_out = tmp_path / "held-out.jsonl"
    rows = [
        {"prompt": "w3", "chosen": "good", "rejected": "bad"},
        {"prompt": "w4", "chosen": "w5 " * 60, "rejected": "bad"},
    ]
    held_out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arm = reward_model_file(tmp_path, split=split, held_out=held_out, limit=1024)
    with pytest.raises(UserError, match=r"do not fit .* The first is .*held-out\.jsonl:2, which takes \d+ tokens"):
        execute(arm, tmp_path / "run", keeping=Keeping(progress=False))
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_reward_model_is_measured_on_answers_that_are_cut_as_in_training(tmp_path: Path) -> None:
    """Protects a finished training: with `max_completion_tokens` the held-out answers fit too. Before, the measurement
    took them whole and stopped after the last step."""
    held_out = tmp_path / "held-out.jsonl"
    held_out.write_text(json.dumps({"prompt": "w4", "chosen": "w5 " * 60, "rejected": "bad"}) + "\n")
    arm = reward_model_file(tmp_path, split="test", held_out=held_out, limit=8)
    result = execute(arm, tmp_path / "run", keeping=Keeping(progress=False))
    assert result.held_out is not None and result.held_out.as_data()["pairs"] == 1
    assert "1 of 2 answers of the pairs of jsonl (test) are cut after 8 tokens." in result.data_notes


def test_held_out_pairs_may_be_few() -> None:
    """Protects short runs on large data, in which a reward model would read every held-out pair at each look: the first
    pairs of validation and test are kept, and all pairs of training."""
    lm = make_tiny(TinyShape(width=8, inner=8, layers=1, heads=1, context=CONTEXT, words=WORDS), seed=0)
    rows = [pair(3, first=number) for number in range(5)]

    class Bed(Testbed):
        name = "bed"

        def prompts(self, split: Split) -> list[Prompt]:
            return []

        def preferences(self, split: Split) -> list[Preference]:
            return rows

    bed = FittedTestbed(Bed(), Fitting(lm, "stop", 100), {}, str, held_out_pairs=2)
    assert [bed.preferences(split) for split in SPLITS] == [rows, rows[:2], rows[:2]]


def reward_model_file(tmp_path: Path, *, split: str, held_out: Path, limit: int) -> Arm:
    """A reward model on short pairs, with a file of its own as `split`."""
    method = {"kind": "rm", "batch_size": 4, "epochs": 1, "max_completion_tokens": limit}
    arm = run_file(tmp_path, [question(number) for number in range(40)], method=method)
    testbed = arm.testbed.model_copy(update={split: str(held_out)})
    return arm.model_copy(update={"testbed": testbed})


def test_pairs_that_a_cut_makes_the_same_are_left_out(tmp_path: Path) -> None:
    """Protects from a training that learns nothing: answers that differ only behind the cut are counted and left out, and
    if no pair is left, the run stops before its first step."""
    shared = "w2 " * 9
    rows = [question(number) for number in range(40)]
    rows[7] |= {"chosen": shared + "good", "rejected": shared + "bad"}
    with_file = run_file(tmp_path, rows, preferences=str(tmp_path / "mine.jsonl"))
    result = execute(with_file, tmp_path / "run", keeping=Keeping(progress=False))
    note = (
        "are cut after 8 tokens; in 1 of 40 rows all answers are the same after the cut, and these rows were left out."
    )
    assert any(f"2 of 80 answers of {tmp_path / 'mine.jsonl'} {note}" == said for said in result.data_notes)
    same = run_file(tmp_path, [row | {"chosen": shared + "good", "rejected": shared + "bad"} for row in rows])
    with pytest.raises(
        UserError, match=r"in (\d+) of \1 rows all answers are the same .* Raise `max_completion_tokens`"
    ):
        execute(same, tmp_path / "other", keeping=Keeping(progress=False))
    assert not (tmp_path / "other" / "metrics.jsonl").exists()
