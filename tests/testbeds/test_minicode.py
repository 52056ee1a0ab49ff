"""The testbed minicode: its problems, their splits, and the answers that come with them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import pytest

from preflab.errors import UserError
from preflab.spec import Context, parse_spec
from preflab.testbeds.minicode import Minicode
from preflab.testbeds.minicode import problems as generation
from preflab.testbeds.minicode.behaviour import (
    PROBES,
    STEPS,
    agrees_on,
    evaluate_program,
    find_behaviour,
    list_near_misses,
)
from preflab.testbeds.minicode.corpus import reword_step
from preflab.testbeds.minicode.language import MINICODE_WORDS
from preflab.testbeds.minicode.problems import (
    LEVELS,
    VAGUE_STEPS,
    MinicodeTask,
    list_phrases,
    list_readings,
    passes_tests,
)
from preflab.testbeds.minicode.testbed import OpenMinicode
from preflab.types import Problem, Split

SPLITS: tuple[Split, ...] = get_args(Split)
SMALL = Minicode(train=90, validation=30, test=30)

CHECKSUMS = {
    "train": "3820ef984514489e5c8a6cdbe726d663a525ea4896e2087b9b25150874860c98",
    "validation": "7141ab4232923b00af12cb63be281e700878ffd53f758e5ab1c0e371180a6758",
    "test": "a45152317108078b010fb7c1330717c2dafc59061e50552357e36b7aa0d3dc5f",
}


@pytest.fixture(scope="module")
def bed() -> Iterator[OpenMinicode]:
    with Minicode().open(Context()) as opened:
        yield opened


def tasks_of(spec: Minicode, split: Split) -> Sequence[MinicodeTask]:
    return generation.make_tasks(spec.seed, split, getattr(spec, split), spec.vague_share, spec.inverted_share)


def opened(spec: Minicode, seed: int) -> OpenMinicode:
    with spec.open(Context(seed=seed)) as bed:
        return bed


def statement(problem: Problem) -> str:
    return problem.turns[0].content


@pytest.mark.parametrize("split", SPLITS)
def test_checksum(bed: OpenMinicode, split: Split) -> None:
    """The default problems, their tests included, are the same on every machine and in every version.

    A change of these digests is a new benchmark: results before and after do not compare. Say so in the changelog.
    """
    hidden = bed.hidden_tests(split)
    rows: list[Any] = [
        [problem.id, problem.level, statement(problem)]
        + [[test.input, test.output] for test in (*problem.public_tests, *hidden[problem.id])]
        for problem in bed.prompts(split)
    ]
    assert hashlib.sha256(json.dumps(rows).encode()).hexdigest() == CHECKSUMS[split]


def test_sizes_levels_and_ids(bed: OpenMinicode) -> None:
    """Sizes are the spec's, levels come in turn, ids are unique over the splits."""
    problems_of = {split: bed.prompts(split) for split in SPLITS}
    assert {split: len(problems) for split, problems in problems_of.items()} == {
        "train": 3000,
        "validation": 200,
        "test": 300,
    }
    assert [problem.level for problem in problems_of["test"][:3]] == list(LEVELS)
    ids = [problem.id for problems in problems_of.values() for problem in problems]
    assert len(set(ids)) == len(ids)


def test_splits_share_no_behaviour(bed: OpenMinicode) -> None:
    """No two problems, of one split or of two, have targets that agree on every probe; none is trivial."""
    del bed
    behaviours = [find_behaviour(task.target) for split in SPLITS for task in tasks_of(Minicode(), split)]
    assert len(set(behaviours)) == len(behaviours) == 3500
    assert all(len(set(values)) > 3 and values != PROBES for values in behaviours)


def test_hidden_tests_are_held_out(bed: OpenMinicode) -> None:
    """Train problems carry eight hidden tests; held-out problems, their answers and pairs carry none."""
    assert all(len(problem.hidden_tests) == 8 and len(problem.public_tests) == 2 for problem in bed.prompts("train"))
    held = [*bed.prompts("validation"), *bed.prompts("test")]
    held += [item.prompt for item in (*bed.demonstrations("validation"), *bed.preferences("validation"))]
    assert all(isinstance(problem, Problem) and problem.hidden_tests == () for problem in held)
    for split in SPLITS:
        hidden = bed.hidden_tests(split)
        assert set(hidden) == {problem.id for problem in bed.prompts(split)}
        assert all(not set(problem.public_tests) & set(hidden[problem.id]) for problem in bed.prompts(split))


def test_targets_solve_and_near_misses_do_not() -> None:
    """Every target passes; of the near misses that behave otherwise, fewer than 3% pass all hidden tests."""
    different = survivors = 0
    for split in SPLITS:
        for task in tasks_of(SMALL, split):
            problem = task.problem
            assert passes_tests(task.target, (*problem.public_tests, *problem.hidden_tests))
            others = [
                near
                for near in list_near_misses(task.target)
                if not agrees_on(near, PROBES, find_behaviour(task.target))
            ]
            different += len(others)
            survivors += sum(passes_tests(near, problem.hidden_tests) for near in others)
    assert different > 1000
    assert survivors < 0.03 * different


def test_statements_are_decided() -> None:
    """Whatever a statement's vague words may mean: a reading that passes the public tests passes the hidden ones."""
    vague = 0
    for task in tasks_of(SMALL, "train"):
        words = statement(task.problem).split(" : ")[0]
        said = words.split(" of ")[::-1] if " of " in words else words.split(" then ")
        assert len(said) == len(task.target)
        vague += sum(phrase in VAGUE_STEPS for phrase in said)
        for program in list_readings(said, task.target):
            assert not passes_tests(program, task.problem.public_tests) or passes_tests(
                program, task.problem.hidden_tests
            )
    assert vague > 20


def test_phrases_say_one_thing() -> None:
    """A full phrase belongs to one step, and no vague phrase is a full one."""
    full = [phrase for texts in STEPS.values() for text in texts for phrase in list_phrases(text)[0]]
    assert len(set(full)) == len(full)
    assert not set(full) & set(VAGUE_STEPS)
    assert all(len(meanings) > 1 for meanings in VAGUE_STEPS.values())


def test_words_cover_statements_and_programs(bed: OpenMinicode) -> None:
    """Every word of every statement and program is in the vocabulary, and prompts are short."""
    known = set(bed.words())
    assert bed.words() == MINICODE_WORDS
    texts = [statement(problem) for split in SPLITS for problem in bed.prompts(split)]
    texts += [pair.chosen.text + " " + pair.rejected.text for pair in bed.preferences("train")]
    texts += [demonstration.completion.text for demonstration in bed.demonstrations("train")]
    assert {word for text in texts for word in text.split()} <= known
    assert max(len(statement(problem).split()) for problem in bed.prompts("train")) <= 40


def test_wrong_share_is_exact(bed: OpenMinicode) -> None:
    """1,110 of 3,000 demonstrations (37%) fail a hidden test, 74 of 200 in validation; all are programs."""
    for split, wrong in (("train", 1110), ("validation", 74)):
        hidden = bed.hidden_tests(split)
        verdicts = bed.judge([(item.completion.text, hidden[item.prompt.id]) for item in bed.demonstrations(split)])
        assert sum(not verdict.correct for verdict in verdicts) == wrong
        assert all(verdict.outcome != "compile-error" for verdict in verdicts)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_wrong_share_at_its_ends(share: float) -> None:
    bed = opened(Minicode(train=60, wrong_share=share), 3)
    hidden = bed.hidden_tests("train")
    verdicts = bed.judge([(item.completion.text, hidden[item.prompt.id]) for item in bed.demonstrations("train")])
    assert {verdict.correct for verdict in verdicts} == {share == 0.0}


def test_pairs_are_right_over_wrong(bed: OpenMinicode) -> None:
    """One pair a problem: the chosen program passes every test, the rejected one fails a hidden test."""
    pairs = bed.preferences("train")
    assert [pair.prompt.id for pair in pairs] == [problem.id for problem in bed.prompts("train")]
    hidden = bed.hidden_tests("train")
    for wanted, side in ((True, "chosen"), (False, "rejected")):
        verdicts = bed.judge([(getattr(pair, side).text, hidden[pair.prompt.id]) for pair in pairs])
        assert {verdict.correct for verdict in verdicts} == {wanted}


def test_reworded_steps_mean_the_same() -> None:
    """Another way of writing a step has its value on every probe and on lone integers, where the step has one."""
    inputs = [*PROBES, *range(-9, 10)]
    different = 0
    for text in (text for texts in STEPS.values() for text in texts):
        other = reword_step(text)
        different += other != (text,)
        wanted = [(given, evaluate_program((text,), given)) for given in inputs]
        assert all(evaluate_program(other, given) == value for given, value in wanted if value is not None), text
    assert different > 60


def test_context_seed_redraws_answers_only() -> None:
    """A study's seeds share problems and tests, and differ in noise, wordings and pairs; one seed repeats itself."""
    one, two, again = opened(SMALL, 1), opened(SMALL, 2), opened(SMALL, 1)
    for split in SPLITS:
        assert one.prompts(split) == two.prompts(split)
        assert one.hidden_tests(split) == two.hidden_tests(split)
    assert one.demonstrations("train") == again.demonstrations("train") != two.demonstrations("train")
    assert one.preferences("train") == again.preferences("train") != two.preferences("train")


def test_spec_seed_redraws_problems() -> None:
    first, second = (opened(SMALL.model_copy(update={"seed": seed}), 0).prompts("test") for seed in (0, 1))
    assert not {statement(problem) for problem in first} & {statement(problem) for problem in second}


def test_a_size_changes_nothing_else() -> None:
    """Splits are drawn apart: more train problems leave validation and test alone and begin with the same ones."""
    sizes = [opened(Minicode(train=train, validation=20, test=20), 0) for train in (30, 60)]
    assert sizes[0].prompts("train") == sizes[1].prompts("train")[:30]
    assert sizes[0].prompts("test") == sizes[1].prompts("test")


def test_wording_knobs() -> None:
    """Without vague or inverted steps every statement says its target in full, in order."""
    plain = Minicode(train=60, vague_share=0, inverted_share=0)
    for task in tasks_of(plain, "train"):
        said = statement(task.problem).split(" : ")[0].split(" then ")
        assert all(phrase in list_phrases(text)[0] for phrase, text in zip(said, task.target, strict=True))
    inverted = opened(Minicode(train=60, inverted_share=1), 0)
    assert all(" of " in statement(problem) for problem in inverted.prompts("train"))


def test_nothing_trains_on_the_test_split(bed: OpenMinicode) -> None:
    for answers in (bed.demonstrations, bed.preferences):
        with pytest.raises(UserError, match="test split"):
            answers("test")


@pytest.mark.parametrize("field", ["wrong_share", "train"])
def test_bad_settings_are_named(field: str) -> None:
    with pytest.raises(UserError, match=field):
        parse_spec(Minicode, {field: -1}, where="study.yaml")


def test_needs_no_torch() -> None:
    """Opening the testbed and judging a program loads neither torch nor transformers."""
    code = (
        "import sys; from preflab.spec import Context; from preflab.testbeds.minicode import Minicode\n"
        "with Minicode(train=3).open(Context()) as bed: bed.demonstrations('train')\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
