"""The code reward: 10 or 0, training problems only, and no way from it to the tests of evaluation."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any

import pytest
from pydantic import ValidationError

from preflab.data.row import DialogueRow
from preflab.errors import UserError
from preflab.meter import Meter
from preflab.rewards.math import FinalAnswer
from preflab.rewards.tests import TestReward, Tests
from preflab.sandbox.judging import Judge, TestedAnswers
from preflab.spec import Context
from preflab.testbeds.dialogues import Dialogues
from preflab.testbeds.math.judging import MathJudge
from preflab.testbeds.math.verifier import open_verifier
from preflab.testbeds.minicode import Minicode
from preflab.types import Completion, Problem, Prompt, Split, Test, Turn, Verdict


class Ask(Judge):
    """A function as a judge."""

    def __init__(self, function: Callable[[TestedAnswers], list[Verdict]], every: bool = True) -> None:
        self.function, self.every = function, every

    def judge_once(self, answers: TestedAnswers) -> list[Verdict]:
        return self.function(answers)


def judge(programs: TestedAnswers) -> list[Verdict]:
    """A program is a number to add to the input."""
    verdicts: list[Verdict] = []
    for text, tests in programs:
        passed = tuple(test.input + int(text) == test.output for test in tests)
        verdicts.append(Verdict("passed" if all(passed) else "failed", passed))
    return verdicts


def problem(name: str, add: int) -> Problem:
    public, hidden = (Test(1, 1 + add),), (Test(2, 2 + add), Test(0, 7))
    return Problem(name, (Turn("user", name),), public_tests=public, hidden_tests=hidden)


def make_testbed(run: Judge | Callable[[TestedAnswers], list[Verdict]] = judge) -> Dialogues:
    splits: dict[Split, list[DialogueRow]] = {
        "train": [DialogueRow(problem("a", 7)), DialogueRow(problem("b", 3))],
        "validation": [DialogueRow(problem("c", 7))],
        "test": [DialogueRow(problem("d", 7))],
    }
    return Dialogues("sums", splits, part="train", identity={}, judge=run if isinstance(run, Judge) else Ask(run))


def opened(
    spec: Tests | None = None, run: Judge | Callable[[TestedAnswers], list[Verdict]] = judge
) -> tuple[TestReward, Dialogues]:
    bed = make_testbed(run)
    with (spec or Tests()).open(Context(testbed=bed)) as reward:
        return reward, bed


def test_ten_when_every_test_passes_else_zero() -> None:
    """Problem a is "+7" with tests 1->8, 2->9, 0->7: "7" passes all three. For b, "+3", the last test (0->7) fails."""
    reward, bed = opened()
    a, b = bed.prompts("train")
    assert reward.score([a, a, b], [Completion("7"), Completion("8"), Completion("3")]) == [10, 0, 0]
    assert reward.outcomes == {"passed": 1, "failed": 2}  # of what was scored last
    assert [verdict.passed for verdict in reward.judge([b], [Completion("3")])] == [(True, True, False)]


def test_compiling_pays_and_the_wrong_format_costs() -> None:
    """Each part by itself, 10 or 0 below: right 10 + 1; wrong 0 + 1; what does not compile 0; "  7" is right but not the
    format, 10 + 1 - 3; so is what was cut off; with tests by share the parts are added to that, 10 x 2/3 + 1."""

    def strict(programs: TestedAnswers) -> list[Verdict]:
        return [
            judge([program])[0] if program[0].strip().isdigit() else Verdict("compile-error", (False,) * 3)
            for program in programs
        ]

    reward, bed = opened(Tests(compile_bonus=1, format=r"\d+|x\n.*", format_penalty=3), strict)
    a, b = bed.prompts("train")
    answers = [Completion(text) for text in ("7", "8", "x\n\ny", "  7")] + [Completion("7", truncated=True)]
    assert reward.score([a] * 5, answers) == [11, 1, 0, 8, 8]
    reward, bed = opened(Tests(compile_bonus=1, partial=True), strict)
    assert reward.score([b], [Completion("3")]) == [pytest.approx(20 / 3 + 1)]


def test_a_format_that_is_no_pattern_is_refused() -> None:
    with pytest.raises(ValidationError, match="is not a regular expression"):
        Tests(format="(")


def test_partial_reward_is_between_wrong_and_correct() -> None:
    """b with "3": 2 of 3 tests pass, so -1 + (5 - -1) x 2/3 = 3; with every test passed 5, with none -1."""
    reward, bed = opened(Tests(correct=5, wrong=-1, partial=True))
    a, b = bed.prompts("train")
    scores = reward.score([b, a, a], [Completion("3"), Completion("7"), Completion("0")])
    assert scores == [pytest.approx(3), 5, -1]


def test_partial_reward_needs_every_test() -> None:
    """Protects from a reward by the tests before the first failure: a judge that stops there is refused."""
    with pytest.raises(UserError, match="Set `every: true` in the testbed"):
        opened(Tests(partial=True), Ask(judge, every=False))


def test_problems_of_evaluation_are_refused() -> None:
    """Scoring a validation or test problem would train on what evaluates."""
    reward, bed = opened()
    for split in ("validation", "test"):
        with pytest.raises(UserError, match="scores only training problems"):
            reward.score(bed.prompts(split), [Completion("7")])


def test_a_failing_judge_is_no_wrong_answer() -> None:
    """An `error` verdict is tried once more, alone. A second one is raised where it is of more than the share that may be lost,
    and otherwise gets the mean of the others' scores, (10 + 0) / 2 = 5: it never becomes a score of 0."""
    calls: list[int] = []

    def flaky(programs: TestedAnswers) -> list[Verdict]:
        calls.append(len(programs))
        failing = Verdict("error", (), {"error": "no memory"})
        return [failing if len(calls) % 2 and text == "7" else judge([(text, tests)])[0] for text, tests in programs]

    reward, bed = opened(run=flaky)
    a, b = bed.prompts("train")
    assert reward.score([b, a], [Completion("0"), Completion("7")]) == [0, 10] and calls == [2, 1]
    dead, bed = opened(run=lambda programs: [Verdict("error", (), {"error": "no memory"}) for _ in programs])
    with pytest.raises(UserError, match=r"failed twice on 1 of 1 answers \(at most 1% may be lost\).*'a'.*no memory"):
        dead.score([a], [Completion("7")])

    def lame(programs: TestedAnswers) -> list[Verdict]:
        return [Verdict("error", ()) if text == "" else judge([(text, tests)])[0] for text, tests in programs]

    lenient, bed = opened(Tests(unjudged=0.4), run=lame)
    assert lenient.score([a, a, a], [Completion("7"), Completion(""), Completion("8")]) == [10, 5, 0]
    assert lenient.outcomes["error"] == 1
    with pytest.raises(UserError, match="2 of 3 answers"):
        lenient.score([a, a, a], [Completion("7"), Completion(""), Completion("")])


def test_each_score_is_a_label() -> None:
    """Three programs scored in two calls: three labels, no compute. A verdict alone (`judge`) is none."""
    meter, bed = Meter(), make_testbed()
    a, b = bed.prompts("train")
    with Tests().open(Context(testbed=bed, meter=meter)) as reward:
        reward.score([a, b], [Completion("7"), Completion("0")])
        reward.score([a], [Completion("7")])
        reward.judge([a], [Completion("7")])
    assert meter.used("labels") == 3 and meter.used("compute") == 0


def test_a_judge_bound_to_the_testbed_is_refused() -> None:
    """Through a bound method the reward would hold the testbed, and with it the tests of evaluation."""

    class Bound(Dialogues):
        def judge(self, programs: Any) -> list[Verdict]:  # type: ignore[override]  # bound, which is what is refused
            return judge(programs)

    class Itself(Dialogues, Judge):
        def judge_once(self, answers: TestedAnswers) -> list[Verdict]:
            return judge(answers)

    bed = make_testbed()
    bed.judge = Bound.judge.__get__(bed)
    itself = Itself("sums", bed._rows, part="train", identity={})
    itself.judge = itself
    for testbed in (bed, itself):
        with (
            pytest.raises(UserError, match="the testbed or one of its methods"),
            Tests().open(Context(testbed=testbed)),
        ):
            pass


def test_a_testbed_without_programs_is_refused() -> None:
    """Dialogue has nothing to test; neither has no testbed."""
    rows = [DialogueRow(Prompt("a", (Turn("user", "a"),)))]
    bed = Dialogues("talk", {"train": rows, "validation": rows, "test": rows}, part="train", identity={})
    with pytest.raises(UserError, match="testbed talk are texts, not programs"), Tests().open(Context(testbed=bed)):
        pass
    with pytest.raises(UserError, match="needs a testbed"), Tests().open(Context()):
        pass


def reachable(root: object) -> Iterator[object]:
    """Every object that a chain of references leads to, except through a module's globals or a class.

    What an import can reach is the import contract's business; what the *object* holds is this walk's.
    """
    seen = {id(root)}
    stack = [root]
    while stack:
        holder = stack.pop()
        yield holder
        if isinstance(holder, FunctionType):
            held: list[object] = [holder.__closure__, holder.__defaults__, holder.__kwdefaults__, holder.__dict__]
        else:
            held = list(gc.get_referents(holder))
        for item in held:
            if id(item) not in seen and not isinstance(item, (ModuleType, type)):
                seen.add(id(item))
                stack.append(item)


def test_the_walk_finds_what_is_held() -> None:
    """The walk below proves something: it does find the hidden tests when the testbed itself is within reach."""
    bed = make_testbed()
    hidden = bed.hidden_tests("test")["d"]
    assert any(item is hidden for item in reachable(lambda: bed))


def test_evaluations_tests_cannot_be_reached_from_the_reward() -> None:
    """No chain of references leads from the opened reward to a test of validation or test, nor to the testbed."""
    reward, bed = opened()
    held = {
        id(test) for split in ("validation", "test") for tests in bed.hidden_tests(split).values() for test in tests
    }
    items = list(reachable(reward))
    assert any(isinstance(item, Test) for item in items)
    assert not any(id(item) in held or item is bed for item in items)


def test_minicodes_evaluation_cannot_be_reached_either() -> None:
    """The embedded testbed, at a small size: the same proof, by identity and by the problems' ids."""
    with Minicode(train=20, validation=5, test=5).open(Context()) as bed:
        held = {id(tests) for split in ("validation", "test") for tests in bed.hidden_tests(split).values()}
        names = {name for split in ("validation", "test") for name in bed.hidden_tests(split)}
        with Tests().open(Context(testbed=bed)) as reward:
            train = list(bed.prompts("train"))
            assert set(reward.score(train, [record.completion for record in bed.demonstrations("train")])) == {
                0.0,
                10.0,
            }
            items = list(reachable(reward))
    assert len(held) == 10
    assert not any(id(item) in held or item is bed for item in items)
    assert not names & {item for item in items if isinstance(item, str)}


@pytest.mark.parametrize("spec", [Tests(), FinalAnswer()], ids=["tests", "math"])
def test_no_way_to_the_right_answers_of_evaluation(spec: Any) -> None:
    """The judge of mathematical problems keeps outcomes, but neither reward leads through it to an answer of another split."""
    hidden = "97531/2"

    def row(name: str, right: str) -> DialogueRow:
        problem = Problem(name, (Turn("user", name),), hidden_tests=(Test(None, right),))
        return DialogueRow(problem, Completion(f"#### {right}"))

    splits: dict[Split, list[DialogueRow]] = {
        "train": [row("a", "1/3")],
        "validation": [row("b", hidden)],
        "test": [row("c", hidden)],
    }
    with open_verifier() as verifier:
        bed = Dialogues("sums", splits, part="train", identity={}, judge=MathJudge(verifier, unmarked=False))
        with spec.open(Context(testbed=bed)) as reward:
            verdicts = bed.judge([("#### 195062/4", tests) for tests in bed.hidden_tests("test").values()])
            assert verdicts[0].outcome == "passed"
            assert reward.score(bed.prompts("train"), [Completion("#### 2/6")]) == [10.0]
            assert not any(isinstance(item, str) and hidden in item for item in reachable(reward))
            assert any(isinstance(item, str) and "1/3" in item for item in reachable(reward))
