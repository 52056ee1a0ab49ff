"""A policy before an evaluator: decoding chosen on validation, best-of-n that never sees what evaluates, KL that is KL."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from preflab.batch import collate
from preflab.errors import UserError
from preflab.evaluation import divergence as module
from preflab.evaluation.base import Evaluator as EvaluatorBase
from preflab.evaluation.base import Grade, GradedPrompt, Summary
from preflab.evaluation.bench import Bench, OpenEvaluator
from preflab.evaluation.divergence import divergence
from preflab.evaluation.evaluate import evaluate, look
from preflab.evaluation.grading import draw
from preflab.evaluation.held_out_reward import HeldOutReward, HeldOutRewardEvaluator
from preflab.evaluation.hidden_tests import HiddenTests, HiddenTestsEvaluator
from preflab.evaluation.measure import REWARD, Measure, known_measure
from preflab.evaluation.measures import distinct_n, k_at_n
from preflab.evaluation.programs import check_public
from preflab.evaluation.result import SplitSummary
from preflab.evaluation.settings import Evaluation
from preflab.evaluation.temperature import choose_temperature
from preflab.models import tiny
from preflab.models.lm import LanguageModel
from preflab.models.spec import TinyShape
from preflab.rewards.base import Reward
from preflab.sampling.base import Decoding, Samples
from preflab.sampling.inference import Inference
from preflab.sampling.native import Native
from preflab.sandbox.judging import Judge, TestedAnswers
from preflab.spec import Context
from preflab.testbeds.base import Testbed
from preflab.types import Completion, Problem, Prompt, Split, Test, Turn, Verdict

PUBLIC, HIDDEN = (Test("public", 0), Test("public", 1)), (Test("hidden", 0),)
SPEC = Evaluation(
    samples=2, k=(1, 2), validation_samples=3, temperatures=(0.2, 0.6, 1.0), shown=1, look_prompts=2, look_samples=2
)
GREEDY = SPEC.model_copy(update={"temperatures": (0.0,)})
BEST_OF_4 = Inference(n=4)
FILTERED = Evaluation(
    samples=6, k=(1,), submissions=((1, 6), (2, 3)), validation_samples=1, temperatures=(0.2, 0.6, 1.0), shown=1
)


class Counted(Judge):
    """An answer "t n" passes as many public tests as n % 3, and the hidden one where n is odd; what is judged is noted."""

    def __init__(self) -> None:
        self.judged: list[tuple[str, tuple[Test, ...]]] = []

    def judge_once(self, answers: TestedAnswers) -> list[Verdict]:
        self.judged += [(text, tuple(tests)) for text, tests in answers]
        verdicts = []
        for text, tests in answers:
            n = int(text.split()[1])
            passed = tuple(n % 2 == 1 if test.input == "hidden" else n % 3 > test.output for test in tests)
            verdicts.append(Verdict("passed" if all(passed) else "failed", passed))
        return verdicts


class Bed(Testbed):
    """Four problems a split; what is asked of it is noted."""

    name = "bed"
    tested = True

    def __init__(self) -> None:
        self.asked: list[Split] = []
        self.judge = Counted()

    def prompts(self, split: Split) -> list[Problem]:
        self.asked.append(split)
        return [
            Problem(f"{split}-{i}", (Turn("user", f"{split} {i}"),), level="ab"[i % 2], public_tests=PUBLIC)
            for i in range(4)
        ]

    def hidden_tests(self, split: Split) -> dict[str, Sequence[Test]]:
        return {f"{split}-{i}": HIDDEN for i in range(4)}


@dataclass(frozen=True)
class Policy:
    """Answers are "temperature number"; the ids are what the sampler made of both."""

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        return [1] * (len(prompt.id) % 3 + 1)

    def completions(self, batch: Any) -> list[Completion]:
        return [Completion(f"{t / 10} {n}", n == 7) for t, n in batch.completion_ids[:, :2].tolist()]


@dataclass
class Sampler:
    """Each sample's number follows from its seed alone; longer where it is odd."""

    calls: list[tuple[float, int]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)

    def sample(self, lm: Any, prompts: Any, *, seeds: Any, decoding: Decoding) -> Samples:
        self.calls.append((decoding.temperature, len(prompts)))
        self.seeds += seeds
        numbers = [seed % 12 for seed in seeds]
        rows = [[round(10 * decoding.temperature), n] + [5] * (n % 2) for n in numbers]
        batch = collate(prompts, rows)
        return Samples(batch, torch.zeros(batch.completion_ids.shape))


@dataclass
class Evaluator(EvaluatorBase):
    """Prefers T = .2 on validation and T = 1 on test; notes what it was given."""

    given: list[tuple[Split, list[str], list[str]]] = field(default_factory=list)

    def grade(self, split: Split, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Grade]:
        self.given.append((split, [p.id for p in prompts], [c.text for c in completions]))
        liked = "0.2" if split == "validation" else "1.0"
        return [Grade(float(c.text.startswith(liked)), Verdict(c.text.split()[0], ())) for c in completions]


def seed_for(*name: str | int) -> int:
    return int.from_bytes(hashlib.sha256("/".join(map(str, name)).encode()).digest()[:6], "big")


def bench(**changes: Any) -> Any:
    spec, evaluator = changes.pop("spec", SPEC), changes.pop("evaluator", None) or Evaluator()
    measures = HiddenTests().measures(spec) if isinstance(evaluator, HiddenTestsEvaluator) else (REWARD,)
    fields = {"testbed": Bed(), "evaluators": [OpenEvaluator(evaluator, measures)], "sampler": Sampler()}
    return Bench(**{**fields, "spec": spec, "seed_for": seed_for, **changes})


def noted(made: Any) -> list[tuple[Split, list[str], list[str]]]:
    """What a bench's first evaluator was given."""
    return made.evaluators[0].evaluator.given


POLICY: Any = Policy()


def test_temperature_is_chosen_on_validation() -> None:
    """Protects from tuning on the test split, where T = 1 would win: .2 is chosen, and T = 1 is shown too. Samples: 3 of 4
    problems on validation at each of three temperatures, then 2 of 4 on test at 1 and at the chosen one."""
    made = bench()
    report = evaluate(made, POLICY, Inference()).measurements
    assert report.temperature == 0.2
    assert report.validation == {"0.2": 1.0, "0.6": 0.0, "1.0": 0.0}
    assert report.chosen.measures["score"] == 0.0 and report.unit.measures["score"] == 1.0
    assert made.sampler.calls == [(0.2, 12), (0.6, 12), (1.0, 12), (1.0, 8), (0.2, 8)]
    splits = [split for split, _, _ in noted(made)]
    assert splits == ["validation"] * 3 + ["test"] * 2


def test_a_chosen_temperature_of_1_is_not_drawn_twice() -> None:
    """Protects the cost, and that both columns are then one measurement."""
    made = bench(spec=SPEC.model_copy(update={"temperatures": (1.0,)}))
    report = evaluate(made, POLICY, Inference()).measurements
    assert made.sampler.calls == [(1.0, 12), (1.0, 8)]
    assert report.chosen == SplitSummary(**{key: value for key, value in report.unit if key != "kl"})


def test_greedy_answers_are_drawn_and_graded_once() -> None:
    """Protects the two decodings of a study: nothing is chosen on validation, whose score is at T = 1; the test split has two
    answers to each prompt at T = 1, and one greedy answer, which counts as both samples. A greedy answer has the tokens of
    its prompt and its own."""
    made = bench(spec=GREEDY)
    report = evaluate(made, POLICY, Inference()).measurements
    assert (report.temperature, report.validation) == (0.0, {"1.0": 0.0})
    assert made.sampler.calls == [(1.0, 12), (1.0, 8), (0.0, 4)]
    assert [len(texts) for _, _, texts in noted(made)] == [12, 8, 4]
    assert all(len(row.scores) == 2 for row in report.chosen.problems.values())
    prompts, texts = made.testbed.prompts("test"), noted(made)[2][2]
    tokens = [
        len(POLICY.encode_prompt(prompt)) + 2 + int(text.split()[1]) % 2
        for prompt, text in zip(prompts, texts, strict=True)
    ]
    assert report.inference.tokens_an_answer == pytest.approx(sum(tokens) / 4)


def test_copies_of_a_greedy_answer_count_once() -> None:
    """Protects what a copy must not change: the saved answers, which a judge would compare again, the share of different
    pairs of words, and the work of a further evaluator."""
    spec, further = GREEDY.model_copy(update={"samples": 6}), Evaluator()
    made = bench(spec=spec)
    own = Measure(name="liked", label="liked", share=True)
    both = replace(made, evaluators=[*made.evaluators, OpenEvaluator(further, (own,), prefix="second/")])
    report, answers = evaluate(both, POLICY, Inference())
    assert len(answers) == 4
    texts = [answer["text"] for answer in answers]
    assert report.chosen.measures["distinct-2"] == pytest.approx(distinct_n(texts, 2))
    assert [len(texts) for _, _, texts in further.given] == [24, 4]
    assert all(len(row.scores) == 6 for row in report.chosen.problems.values())


def test_best_of_n_never_answers_greedily() -> None:
    """Protects best-of-n from four equal samples: where the study decides by greedy decoding, it answers at T = 1."""
    made = bench(spec=GREEDY)
    report = evaluate(made, POLICY, BEST_OF_4).measurements
    assert report.temperature == 1.0
    assert made.sampler.calls == [(1.0, 48), (1.0, 32)]
    assert report.chosen.measures == report.unit.measures


@pytest.mark.parametrize(
    ("temperatures", "decodings"),
    [
        ((0.0,), {"chosen": "With greedy decoding", "unit": "At temperature 1"}),
        ((0.6,), {"chosen": "At temperature 0.6", "unit": "At temperature 1"}),
        ((0.0, 1.0), {"chosen": "At the chosen temperature", "unit": "At temperature 1"}),
        ((1.0,), {"chosen": "At temperature 1"}),
    ],
)
def test_decodings_of_a_study(temperatures: tuple[float, ...], decodings: dict[str, str]) -> None:
    """Protects what the report calls its two decodings, and a study at temperature 1 alone from deciding twice."""
    assert Evaluation(temperatures=temperatures).decodings == decodings


def test_validation_may_be_measured_as_the_test_is() -> None:
    """Protects tables with a column for each split: with as many samples as the test, at both temperatures, under names of
    their own, and of the means alone. On validation T = .2 is right (1) and T = 1 wrong (0); on test the other way round."""
    made = bench(spec=SPEC.model_copy(update={"validation": True}))
    report = evaluate(made, POLICY, Inference()).measurements
    assert made.sampler.calls[3:] == [(1.0, 8), (1.0, 8), (0.2, 8), (0.2, 8)]
    for decoding, test in (("unit", 1.0), ("chosen", 0.0)):
        measures = report.at(decoding).measures
        assert (measures["reward"], measures["validation/reward"]) == (test, 1.0 - test)
        assert "validation/length" in measures and "validation/score" not in measures
        assert all(name.startswith("test") for name in report.at(decoding).problems)
    assert known_measure("validation/pass@5").label == "pass@5, validation"


def test_without_test_the_test_split_is_left_alone() -> None:
    """Protects tuning trials from the test split: neither its prompts nor the evaluator's test part are touched."""
    made = bench()
    report = choose_temperature(made, POLICY, Inference()).as_data()
    assert set(made.testbed.asked) == {"validation"}
    assert {split for split, _, _ in noted(made)} == {"validation"}
    assert set(report) == {"temperature", "validation", "validation_by_problem"}


def test_each_problem_is_kept() -> None:
    """Protects comparisons problem by problem: every problem's scores, in the samples' order, with its level; row i answers
    prompt i // samples; what the table shows is their mean."""
    made = bench()
    report = evaluate(made, POLICY, Inference()).measurements.unit
    assert {name: row.level for name, row in report.problems.items()} == {f"test-{i}": "ab"[i % 2] for i in range(4)}
    assert all(row.scores == [1.0, 1.0] for row in report.problems.values())
    _, ids, _ = noted(made)[3]
    assert ids == [f"test-{i}" for i in range(4) for _ in range(2)]
    assert report.outcomes == {"1.0": 8}
    lengths = [2 + int(text.split()[1]) % 2 for text in noted(made)[3][2]]
    assert report.measures["length"] == pytest.approx(sum(lengths) / 8)


def test_pass_at_k_where_scores_are_binary() -> None:
    """Protects the columns: with one of two samples right on two of four problems, pass@1 = .25 and pass@2 = .5."""

    class Half(HiddenTestsEvaluator):
        def grade(self, split: Split, prompts: Any, completions: Any) -> list[Grade]:
            return [Grade(float(i in (0, 5))) for i in range(len(completions))]

    measures = evaluate(bench(evaluator=Half(Bed())), POLICY, Inference()).measurements.unit.measures
    assert (measures["pass@1"], measures["pass@2"], measures["score"]) == (0.25, 0.5, 0.25)
    assert not any(
        name.startswith("pass@") for name in evaluate(bench(), POLICY, Inference()).measurements.unit.measures
    )


def test_k_at_n_filters_by_the_public_tests() -> None:
    """Protects AlphaCode's measure: a sample passes the filter where n % 3 = 2 (both public tests), and counts as right where n
    is odd too; k@n is the mean over problems of the closed form; a problem without public tests is refused."""
    bed = Bed()
    made = bench(spec=FILTERED, testbed=bed, evaluator=HiddenTestsEvaluator(bed))
    measures = evaluate(made, POLICY, Inference()).measurements.unit.measures
    judged = [
        int(text.split()[1]) for text, tests in made.testbed.judge.judged if tests == PUBLIC and text.startswith("1.0")
    ]
    groups = [judged[start : start + 6] for start in range(0, 24, 6)]
    counts = [(sum(n % 3 == 2 for n in group), sum(n % 3 == 2 and n % 2 for n in group)) for group in groups]
    assert any(0 < right < passing for passing, right in counts), (
        "every filter is all or nothing: the test protects little"
    )
    for k, n in FILTERED.submissions:
        wanted = sum(k_at_n(6, passing, right, k, n) for passing, right in counts) / 4
        assert measures[f"{k}@{n}"] == pytest.approx(wanted)
    bare = SimpleNamespace(prompts=lambda split: [replace(p, public_tests=()) for p in Bed().prompts(split)])
    with pytest.raises(UserError, match=r"'test-0' has no public tests.*public_first"):
        check_public(FILTERED, cast(Any, bare))


def test_seeds_are_the_samples_own() -> None:
    """Protects pairing and independence: no seed twice over splits, temperatures, problems and samples; two policies draw
    with the same ones."""
    one, other = bench(), bench()
    evaluate(one, POLICY, Inference())
    evaluate(other, POLICY, Inference())
    assert len(set(one.sampler.seeds)) == len(one.sampler.seeds) == 3 * 12 + 2 * 8
    assert one.sampler.seeds == other.sampler.seeds


def test_best_of_n_selects_by_public_tests_alone() -> None:
    """Protects from a selector that sees what evaluates. Of each four samples the one that passes most public tests is
    graded (the first of equals); no judged program ever saw a hidden test, and the evaluator sees the selected alone."""
    made = bench()
    graded = draw(made, POLICY, "test", 0, 2, 1.0, BEST_OF_4)
    assert made.sampler.calls == [(1.0, 4 * 2 * 4)]
    assert {test for _, tests in made.testbed.judge.judged for test in tests} == set(PUBLIC)
    texts = [text for text, _ in made.testbed.judge.judged]
    groups = [texts[i : i + 4] for i in range(0, len(texts), 4)]
    wanted = [max(group, key=lambda text: int(text.split()[1]) % 3) for group in groups]
    assert noted(made) == [("test", [f"test-{i}" for i in range(4) for _ in range(2)], wanted)]
    assert [completion.text for completion in graded.completions] == wanted
    assert POLICY.completions(graded.drawn.batch) == list(graded.completions)
    assert graded.drawn.batch is not None
    assert graded.drawn.lengths == graded.drawn.batch.completion_lengths.tolist()


def test_best_of_n_through_the_hidden_tests() -> None:
    """Protects the same with the real evaluator: first all samples by public tests, then the selected by the hidden ones;
    the score is what the selected earn, not the best that was drawn."""
    bed = Bed()
    made = bench(testbed=bed, evaluator=HiddenTestsEvaluator(bed))
    graded = draw(made, POLICY, "test", 0, 1, 1.0, BEST_OF_4)
    inputs = [{test.input for test in tests} for _, tests in bed.judge.judged]
    assert inputs == [{"public"}] * 16 + [{"hidden"}] * 4
    selected = [completion.text for completion in graded.completions]
    assert [text for text, _ in bed.judge.judged[16:]] == selected
    assert [grade.score for grade in graded.grades] == [float(int(text.split()[1]) % 2) for text in selected]


def test_best_of_n_by_a_reward() -> None:
    """Protects the other selector: the reward's favourite of each group; a run without a reward says so."""

    class Largest(Reward):
        def score(self, prompts: Any, completions: Any) -> list[float]:
            return [float(c.text.split()[1]) for c in completions]

    made = bench(reward=Largest())
    graded = draw(made, POLICY, "test", 2, 1, 1.0, Inference(n=4, selector="reward"))
    numbers = [seed % 12 for seed in made.sampler.seeds]
    assert [int(c.text.split()[1]) for c in graded.completions] == [max(numbers[:4]), max(numbers[4:])]
    assert made.testbed.judge.judged == []
    with pytest.raises(UserError, match="--reward"):
        draw(bench(), POLICY, "test", 2, 1, 1.0, Inference(n=4, selector="reward"))


def test_looks_are_short_and_on_validation() -> None:
    """Protects training's cost: the first `look_prompts` prompts, `look_samples` each, at T = 1, on validation."""
    made = bench()
    report = look(made, POLICY)
    assert made.sampler.calls == [(1.0, 4)] and set(made.testbed.asked) == {"validation"}
    assert report["score"] == 0.0 and "kl" not in report
    assert noted(made)[0][1] == ["validation-0", "validation-0", "validation-1", "validation-1"]


# -- several measures, several evaluators ----------------------------------------------------------------------------------

SHORT = Measure(name="short", label="short", share=True, better="higher")
WORDS = Measure(name="words", unit="words", better="lower")


@dataclass
class Brevity(EvaluatorBase):
    """Answers are short below 7; `words` is their number."""

    given: list[str] = field(default_factory=list)

    def grade(self, split: Split, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Grade]:
        self.given += [f"{split} {completion.text}" for completion in completions]
        numbers = [float(completion.text.split()[1]) for completion in completions]
        return [Grade(float(number < 7), values={"words": number}) for number in numbers]


def test_measures_are_means_over_a_prompts_answers() -> None:
    """Protects the default summary. Scores 1, 0, 0 and 1, 1, 1: first measure 1/3 and 1; words 2, 8, 8 and 1, 2, 3: second 6
    and 2. A grade without a declared measure is named."""
    first, second = Bed().prompts("test")[:2]
    answers = [Completion(f"1.0 {number}") for number in (2, 8, 8, 1, 2, 3)]
    grades = Brevity().grade("test", [first] * 3 + [second] * 3, answers)
    rows = [GradedPrompt(first, answers[:3], grades[:3]), GradedPrompt(second, answers[3:], grades[3:])]
    values = Brevity().summarise(rows, Summary((SHORT, WORDS), SPEC, seed_for))
    assert values == [{"short": pytest.approx(1 / 3), "words": 6.0}, {"short": 1.0, "words": 2.0}]
    with pytest.raises(UserError, match="'letters'"):
        Brevity().summarise(rows, Summary((SHORT, known_measure("letters")), SPEC, seed_for))


def test_further_evaluators_measure_the_same_answers() -> None:
    """Protects from choosing by two evaluators: the first one's scores choose, the second sees the test split's answers alone,
    the same ones; its measures stand beside the first one's under its name, problem by problem and as means."""
    first, second = Evaluator(), Brevity()
    opened = [OpenEvaluator(first, (REWARD,)), OpenEvaluator(second, (SHORT, WORDS), "brevity/")]
    made = bench(evaluators=opened)
    result = evaluate(made, POLICY, Inference()).measurements
    assert result.temperature == 0.2
    answers = [f"test {text}" for split, _, texts in first.given if split == "test" for text in texts]
    assert sorted(second.given) == sorted(answers)
    for problem in result.unit.problems.values():
        assert set(problem.measures) == {"reward", "brevity/short", "brevity/words"}
        assert problem.measures["reward"] == sum(problem.scores) / 2 == 1.0
    numbers = [int(text.split()[1]) for text in noted(made)[3][2]]
    assert result.unit.measures["brevity/words"] == pytest.approx(sum(numbers) / 8)
    with pytest.raises(
        UserError, match=r"Odd.summarise, prompt 0: the evaluator measured short, words, but its spec declares short"
    ):
        evaluate(bench(evaluators=[OpenEvaluator(Odd(), (SHORT,))]), POLICY, Inference())


@dataclass
class Given(EvaluatorBase):
    """Its grades are what a function makes of the number of answers."""

    make: Callable[[int], Any]

    def grade(self, split: Split, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Grade]:
        return self.make(len(completions))


class Summed(Given):
    """Its summaries are what a function makes of the number of prompts; its grades are right."""

    def grade(self, split: Split, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Grade]:
        return [Grade(0.5)] * len(completions)

    def summarise(self, rows: Sequence[GradedPrompt], summary: Summary) -> list[dict[str, float]]:
        return self.make(len(rows))


def each(*arguments: Any, **fields: Any) -> Callable[[int], Any]:
    return lambda count: [Grade(*arguments, **fields)] * count


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (each(3.0, values={"words": 1.0}), "answer 0: the value of 'short' is 3, but this measure is a share"),
        (each(math.nan, values={"words": 1.0}), "answer 0: the value of 'short' must be a finite number, not nan"),
        (each(1.0, values={"words": math.inf}), "the value of 'words' must be a finite number, not inf"),
        (each(1.0, values={"words": None}), "the value of 'words' must be a finite number, not null"),
        (each(1.0), "`values` has no 'words', which the spec declares"),
        (each(1.0, values={"words": 1.0, "letters": 2.0}), "`values` has 'letters', which the spec does not declare"),
        (each(1.0, values={"words": 1.0, "short": 1.0}), "`values` has 'short', the first measure.*`score` only"),
        (each(1.0, None, {"words": 1.0}), "`verdict` must be a `Verdict`"),
        (lambda count: [Grade(1.0, values={"words": 1.0})] * (count - 1), "returned 11 grades for 12 answers"),
        (lambda count: (Grade(1.0, values={"words": 1.0}) for _ in iter(int, 1)), "more than 12 grades for 12 answers"),
        (lambda count: None, "returned a NoneType for 12 answers"),
        (lambda count: [1.0] * count, "the evaluator returned 1.0, a float. Return a `Grade`"),
        (lambda count: [][count], r"Given.grade failed at .*test_evaluate.py:\d+: IndexError"),
        (lambda count: sys.exit("gone"), r"Given.grade failed at .*test_evaluate.py:\d+: SystemExit: gone"),
    ],
)
def test_a_wrong_grade_is_refused_where_it_is_given(make: Callable[[int], Any], words: str) -> None:
    """Protects results from a share of 300%, a missing grade and a NaN, and users from a traceback after all training."""
    made = bench(evaluators=[OpenEvaluator(Given(make), (SHORT, WORDS))])
    with pytest.raises(UserError, match=words):
        evaluate(made, POLICY, Inference())
    assert len(made.sampler.calls) == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda count: [{"short": 0.5}] * (count - 1), "for 4 prompts. Return a list with one mapping"),
        (lambda count: None, "returned null for 4 prompts"),
        (lambda count: [0.5] * count, "prompt 0: the evaluator measured a float, but its spec declares short"),
        (
            lambda count: [{"short": -0.1}] * count,
            "prompt 0: the value of 'short' is -0.1, but this measure is a share",
        ),
        (lambda count: [{"short": math.nan}] * count, "prompt 0: the value of 'short' must be a finite number"),
        (lambda count: {}[count], "Summed.summarise failed at .*test_evaluate.py:.*KeyError"),
    ],
)
def test_a_wrong_summary_is_refused(make: Callable[[int], Any], words: str) -> None:
    """Protects results from what an evaluator's own `summarise` returns: as for its grades."""
    with pytest.raises(UserError, match=words):
        evaluate(bench(evaluators=[OpenEvaluator(Summed(make), (SHORT,))]), POLICY, Inference())


def test_numbers_of_numpy_and_rounding_are_kept_as_floats() -> None:
    """Protects `result.json`, which cannot hold numpy's numbers, and a share that rounding put just above 1."""
    grade = Grade(np.float32(1.0) + 2e-16, values={"words": np.int64(3)})  # type: ignore[arg-type]  # on purpose
    made = OpenEvaluator(Given(lambda count: [grade] * count), (SHORT, WORDS))
    (checked,) = made.grade("test", Bed().prompts("test")[:1], [Completion("a")])
    assert (type(checked.score), checked.score, type(checked.values["words"])) == (float, 1.0, float)


def test_a_defect_and_a_fault_of_the_machine_are_not_blamed_on_the_user() -> None:
    """Protects reports of defects: preflab's own evaluator keeps its traceback, and a lack of memory its exit code."""
    own = HiddenTestsEvaluator(None)  # type: ignore[arg-type]  # a defect, on purpose
    with pytest.raises(AttributeError):
        OpenEvaluator(own, (SHORT,)).grade("test", [], [])
    with pytest.raises(MemoryError):
        OpenEvaluator(Given(lambda count: raise_error(MemoryError())), (SHORT,)).grade("test", [], [])


def raise_error(error: Exception) -> Any:
    raise error


class Odd(Brevity):
    """Measures more than its spec declares."""

    def summarise(self, rows: Sequence[GradedPrompt], summary: Summary) -> list[dict[str, float]]:
        return super().summarise(rows, Summary((SHORT, WORDS), summary.settings, summary.seed_for))


# -- KL and entropy -------------------------------------------------------------------------------------------------------

SHAPE = TinyShape(width=16, inner=16, layers=1, heads=2, context=64)


@pytest.fixture
def policy() -> LanguageModel:
    return tiny.make_tiny(SHAPE, seed=0)


def moved(lm: LanguageModel, std: float = 0.05) -> LanguageModel:
    """Another model, some way off."""
    other = tiny.make_tiny(SHAPE, seed=0)
    generator = torch.Generator().manual_seed(5)
    for parameter in other.model.parameters():
        parameter.data += torch.randn(parameter.shape, generator=generator) * std
    return other


def measured(policy: LanguageModel, start: LanguageModel | None, inference: Inference, **spec: Any) -> dict[str, Any]:
    with Native().open(Context()) as sampler:
        settings = SPEC.model_copy(update={"max_new_tokens": 6, **spec})
        made = bench(sampler=sampler, start=start, spec=settings, token_budget=40)
        return divergence(made, policy, draw(made, policy, "test", 0, 4, 1.0, Inference()), inference)


def test_kl_to_itself_is_exactly_0(policy: LanguageModel) -> None:
    """Protects the SFT row of every table: 0, not rounding."""
    report = measured(policy, policy, Inference())
    assert report.estimate == 0.0
    assert "full-vocabulary" in report.estimator


def test_kl_by_full_sums_and_by_k3_agree(policy: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the estimator that large vocabularies use: positive, named, and near the full sums on the same samples."""
    start = moved(policy)
    exact = measured(policy, start, Inference())
    monkeypatch.setattr(module, "EXACT_KL_VOCABULARY", 10)
    estimated = measured(policy, start, Inference())
    assert exact.estimate > 0.1
    assert "k3" in estimated.estimator
    assert estimated.estimate == pytest.approx(exact.estimate, rel=0.5)
    assert estimated.entropy == exact.entropy


def test_kl_is_a_sum_over_a_response(policy: LanguageModel) -> None:
    """Protects the units: KL in nats a response, entropy in nats a token, against brute sums over every sampled token's
    whole distribution."""
    start = moved(policy)
    with Native().open(Context()) as sampler:
        made = bench(sampler=sampler, start=start, spec=SPEC.model_copy(update={"max_new_tokens": 5}))
        graded = draw(made, policy, "test", 0, 2, 1.0, Inference())
        report = divergence(made, policy, graded, Inference())
    total, entropy, batch = 0.0, 0.0, graded.drawn.batch
    for b in range(len(batch)):
        p, n = int(batch.prompt_lengths[b]), int(batch.completion_lengths[b])
        ids = torch.cat([batch.prompt_ids[b, -p:], batch.completion_ids[b, :n]])[None]
        with torch.no_grad():
            mine, theirs = (
                lm.model(input_ids=ids).logits[0, p - 1 : -1].double().log_softmax(-1) for lm in (policy, start)
            )
        total += float((mine.exp() * (mine - theirs)).sum())
        entropy -= float((mine.exp() * mine).sum())
    assert report.estimate == pytest.approx(total / len(batch), rel=1e-4)
    assert report.entropy == pytest.approx(entropy / int(batch.completion_lengths.sum()), rel=1e-4)


def test_kl_rows_are_spread_over_the_problems(policy: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects from a KL of the first (easiest) problems alone where `kl_samples` is smaller than all."""
    rows: list[list[int]] = []
    with Native().open(Context()) as sampler:
        made = bench(sampler=sampler, start=policy, spec=SPEC.model_copy(update={"max_new_tokens": 3, "kl_samples": 4}))
        graded = draw(made, policy, "test", 0, 2, 1.0, Inference())
        original = type(graded.drawn.batch).select

        def spy(batch: Any, index: Any) -> Any:
            rows.append(list(index))
            return original(batch, index)

        monkeypatch.setattr(type(graded.drawn.batch), "select", spy)
        divergence(made, policy, graded, Inference())
    assert rows[0] == [0, 2, 4, 6]


def test_kl_of_best_of_n_and_of_nothing(policy: LanguageModel) -> None:
    """Protects what cannot be summed: best-of-n shows its closed-form bound by name, a policy without a start none."""
    bound = measured(policy, policy, BEST_OF_4)
    assert bound.estimate == pytest.approx(0.636294, abs=1e-6) and "bound" in bound.estimator
    assert measured(policy, None, Inference()).estimate is None


# -- evaluators -----------------------------------------------------------------------------------------------------------


def test_hidden_tests_decide() -> None:
    """Protects the score: 1 where every hidden test passes, else 0, by the prompt's own tests in the split asked for; a
    problem without tests, and a testbed without any, are named."""
    bed = Bed()
    with HiddenTests().open(Context(testbed=bed)) as evaluator:
        prompts = bed.prompts("test")[:2]
        grades = evaluator.grade("test", prompts, [Completion("1.0 3"), Completion("1.0 4")])
        assert [(grade.score, grade.verdict.outcome, grade.verdict.passed) for grade in grades] == [
            (1.0, "passed", (True,)),
            (0.0, "failed", (False,)),
        ]
        assert [tests for _, tests in bed.judge.judged] == [HIDDEN, HIDDEN]
        with pytest.raises(UserError, match="Problem 'test-0' of the validation split has no hidden tests"):
            evaluator.grade("validation", prompts, [Completion("a")] * 2)
    with pytest.raises(UserError, match="no hidden tests"), HiddenTests().open(Context(testbed=None)):
        pass


def test_a_held_out_reward_decides() -> None:
    """Protects dialogue: scores are the held-out model's, and their mean is called the reward."""

    class Length(Reward):
        def score(self, prompts: Any, completions: Any) -> list[float]:
            return [len(c.text) - 2.5 for c in completions]

    evaluator = HeldOutRewardEvaluator(Length())
    grades = evaluator.grade("test", Bed().prompts("test")[:2], [Completion("a"), Completion("abcd")])
    assert [grade.score for grade in grades] == [-1.5, 1.5]
    assert [measure.name for measure in HeldOutReward.model_construct().measures(SPEC)] == ["reward"]


@pytest.mark.parametrize(
    "changes", [{"samples": 4, "k": (5,)}, {"samples": 0}, {"temperatures": []}, {"temperatures": [-1.0]}, {"k": [0]}]
)
def test_settings_that_measure_nothing_are_refused(changes: dict[str, Any]) -> None:
    """Protects from an error after hours of training: pass@5 of 4 samples, no temperature, no sample."""
    with pytest.raises(ValueError):
        Evaluation(**changes)
