"""Evaluates a policy on the test split at two decodings: the temperature of the settings (0: greedy) and temperature 1.

If the settings give several temperatures, each policy gets the one with the best score on the validation split. Every
policy draws the same number of samples. The scores of each problem are saved, so that arms can be compared problem by
problem.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

from preflab import ops
from preflab.batch import TokenBatch
from preflab.errors import UserError
from preflab.evaluation.base import Evaluator, Grade, GradedPrompt, PolicyEvaluator, Summary
from preflab.evaluation.measure import VALIDATION, Measure
from preflab.evaluation.measures import best_of_n_kl_bound, distinct_n, truncated_share
from preflab.evaluation.returned import blaming_outside, check_grades, check_items, check_summaries
from preflab.evaluation.settings import Evaluation
from preflab.models import forward
from preflab.models.lm import LanguageModel
from preflab.rewards.base import Reward
from preflab.sampling.base import Decoding, Sampler, Samples
from preflab.sampling.inference import Inference
from preflab.testbeds.base import Testbed
from preflab.train import faults
from preflab.types import Completion, Problem, Prompt, Split

EXACT_KL_VOCABULARY = 4096
KEPT_ANSWERS = 8
"""The largest number of answers to one prompt in the file `ANSWERS`."""


@dataclass(frozen=True)
class OpenEvaluator:
    """An evaluator of a study, and the measures that its spec declares. `prefix`: the prefix of these measures' names
    in results."""

    evaluator: Evaluator
    measures: Sequence[Measure]
    prefix: str = ""

    def grade(self, split: Split, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Grade]:
        """Returns the checked grade of each completion. Raises `UserError` if an evaluator from outside preflab fails,
        or if the grades do not agree with the measures of its spec."""
        source = f"{type(self.evaluator).__name__}.grade"
        averaged = type(self.evaluator).summarise is Evaluator.summarise
        with blaming_outside(self.evaluator, source):
            grades = self.evaluator.grade(split, prompts, completions)
            return check_grades(grades, len(completions), self.measures, source, averaged=averaged)

    def summarise(self, rows: Sequence[GradedPrompt], summary: Summary) -> list[dict[str, float]]:
        """Returns the checked measures of each prompt. Raises `UserError` if an evaluator from outside preflab fails, or
        if it returns other measures than its spec declares."""
        source = f"{type(self.evaluator).__name__}.summarise"
        with blaming_outside(self.evaluator, source):
            return check_summaries(self.evaluator.summarise(rows, summary), len(rows), self.measures, source)


@dataclass(frozen=True)
class Bench:
    """The opened objects that an evaluation needs. `sampler`: a sampler that only evaluations use. `seed_for`: a
    function from names to a seed. `start`: the reference model for KL. `say`: a function that prints a progress line.
    The first evaluator's scores choose temperatures and checkpoints. The other evaluators choose nothing: they only add
    measures to the results."""

    spec: Evaluation
    testbed: Testbed
    evaluators: Sequence[OpenEvaluator]
    sampler: Sampler
    seed_for: Callable[..., int]
    start: LanguageModel | None = None
    reward: Reward | None = None
    token_budget: int = 8192
    say: Callable[[str], None] = lambda text: None

    def prompts(self, split: Split, limit: int) -> list[Prompt]:
        """Returns the first `limit` prompts of a split. If `limit` is 0, returns all prompts of the split."""
        prompts = list(self.testbed.prompts(split))
        return prompts[:limit] if limit else prompts


@dataclass(frozen=True)
class Graded:
    """The graded samples of some prompts at one temperature. Row i is an answer to the prompt with the index i //
    samples."""

    prompts: Sequence[Prompt]
    samples: int
    drawn: Samples
    completions: Sequence[Completion]
    grades: Sequence[Grade]
    copies: int
    """How often each drawn answer occurs. Greedy decoding draws one answer to a prompt, which then occurs `samples`
    times. Otherwise, each answer occurs once."""
    tokens_an_answer: float
    """The mean number of tokens that one answer needs: the tokens of its prompt, plus the tokens of all samples drawn
    for the answer. Best-of-n draws n samples for one answer."""

    def score(self) -> float:
        return sum(grade.score for grade in self.grades) / len(self.grades)

    def scores_by_problem(self) -> dict[str, float]:
        """Returns the mean score of the answers to each prompt, by the prompt's id."""
        return {row.prompt.id: sum(grade.score for grade in row.grades) / self.samples for row in self.by_prompt()}

    def measures(self) -> dict[str, float]:
        length = float(self.drawn.batch.completion_lengths.float().mean())
        return {"score": self.score(), "length": length, "truncated": truncated_share(self.completions)}

    def grade_by(self, each: OpenEvaluator, split: Split) -> list[Grade]:
        """Returns the grades that another evaluator gives. Copies of an answer are graded once."""
        grades = each.grade(split, self.prompt_rows[:: self.copies], self.completions[:: self.copies])
        return [grade for grade in grades for _ in range(self.copies)]

    @property
    def prompt_rows(self) -> list[Prompt]:
        """The prompt that each row answers."""
        return [prompt for prompt in self.prompts for _ in range(self.samples)]

    def by_prompt(self, grades: Sequence[Grade] | None = None) -> list[GradedPrompt]:
        """Returns the answers grouped by prompt, with `grades`. If `grades` is None, uses the grades of the first
        evaluator."""
        grades = self.grades if grades is None else grades
        rows = range(0, len(grades), self.samples)
        return [
            GradedPrompt(prompt, self.completions[row : row + self.samples], grades[row : row + self.samples])
            for prompt, row in zip(self.prompts, rows, strict=True)
        ]


def check_splits(testbed: Testbed, spec: Evaluation, measure: Literal["test", "validation", "none"]) -> None:
    """Raises `UserError` if the testbed lacks the test or validation problems that measuring needs. preflab calls this
    function before any training."""
    name = testbed.name
    chooses = measure == "validation" or len(spec.temperatures) > 1 or spec.validation
    if measure == "test" and not testbed.prompts("test"):
        raise UserError(
            f"{name} has no test problems, but policies are measured on test problems. Add more problems, or a test file."
        )
    if measure != "none" and chooses and not testbed.prompts("validation"):
        raise UserError(
            f"{name} has no validation problems, but choosing a temperature and tuning need them. Give a single "
            "temperature, such as `temperatures: [0.2]` under `evaluation` (`--temperatures 0.2`), do not tune, and leave "
            "`validation` of the evaluation at false."
        )


def look(bench: Bench, policy: LanguageModel) -> dict[str, float]:
    """Evaluates a policy quickly during training, by its answers to the first validation prompts at temperature 1. Also
    measures KL, if there is a reference model."""
    spec = bench.spec
    graded = draw(bench, policy, "validation", spec.look_prompts, spec.look_samples, 1.0, Inference())
    kl = divergence(bench, policy, graded, Inference())["estimate"]
    return graded.measures() if kl is None else graded.measures() | {"kl": kl}


def evaluate(bench: Bench, policy: LanguageModel, inference: Inference, *, test: bool = True) -> dict[str, Any]:
    """Measures a trained policy, and returns all data about the policy that the report shows, as plain data.

    If `test` is False, only the validation split is used, because tuning must not use test problems.
    """
    spec = bench.spec
    tried = try_temperatures(bench, policy, inference)
    grid = {temperature: graded.score() for temperature, graded in tried.items()}
    faults.pass_point("evaluation")
    declared = list_temperatures(spec, inference)
    best = max(grid, key=lambda key: grid[key], default=1.0)
    temperature = declared[0] if len(declared) == 1 else best
    choice = {"temperature": temperature, "validation": {str(key): score for key, score in grid.items()}}
    if not test:
        return {**choice, "validation_by_problem": tried[best].scores_by_problem()}
    unit = chosen = draw_to_measure(bench, policy, "test", 1.0, inference)
    unit_summary = chosen_summary = summarise_split(bench, policy, unit, 1.0, inference)
    if temperature != 1.0:
        chosen = draw_to_measure(bench, policy, "test", temperature, inference)
        chosen_summary = summarise_split(bench, policy, chosen, temperature, inference)
    elsewhere = measure_elsewhere(bench, policy)
    for summary in (unit_summary, chosen_summary):
        summary["measures"] |= {name: sum(items.values()) / len(items) for name, items in elsewhere.items()}
    rows, kept = chosen.by_prompt(), min(KEPT_ANSWERS, spec.samples // chosen.copies)
    return {
        **choice,
        **({"elsewhere": elsewhere} if elsewhere else {}),
        "inference": {**inference.model_dump(), "tokens_an_answer": chosen.tokens_an_answer},
        "chosen": chosen_summary,
        "unit": unit_summary | {"kl": divergence(bench, policy, unit, inference)},
        "answers": [{"problem": row.prompt.id, **asdict(each)} for row in rows for each in row.answers[:kept]],
        "samples": [first_answer(row) for row in rows[: spec.shown]],
    }


def draw_to_measure(
    bench: Bench, policy: LanguageModel, split: Split, temperature: float, inference: Inference
) -> Graded:
    """Samples as many answers to a split's prompts as the test needs, grades them, and returns the graded answers."""
    return draw(bench, policy, split, bench.spec.prompts, bench.spec.samples, temperature, inference, aloud=True)


def summarise_split(
    bench: Bench, policy: LanguageModel, graded: Graded, temperature: float, inference: Inference
) -> dict[str, Any]:
    """Returns the summary of graded answers to the test problems. If the settings say so, adds the measures on the
    validation split at the same temperature, under names such as `validation/pass@1`."""
    summary = summarise_answers(bench, graded, "test")
    if bench.spec.validation:
        held = draw_to_measure(bench, policy, "validation", temperature, inference)
        measures = summarise_answers(bench, held, "validation")["measures"]
        summary["measures"] |= {VALIDATION + name: value for name, value in measures.items() if name != "score"}
    return summary


def list_temperatures(spec: Evaluation, inference: Inference) -> tuple[float, ...]:
    """Returns the temperatures at which a policy may answer. Best-of-n needs different samples of a prompt. It
    therefore answers at temperature 1 where the settings ask for greedy decoding."""
    several = (temperature or 1.0 for temperature in spec.temperatures)
    return spec.temperatures if inference.n == 1 else tuple(dict.fromkeys(several))


def try_temperatures(bench: Bench, policy: LanguageModel, inference: Inference) -> dict[float, Graded]:
    """Returns graded answers to the validation split at each temperature to choose from. If there is nothing to choose,
    returns answers at temperature 1 instead, because tuning uses the score of these answers. Checkpoints are chosen at
    temperature 1 too. Returns an empty mapping if the data have no validation split."""
    spec, declared = bench.spec, list_temperatures(bench.spec, inference)
    if not bench.prompts("validation", 1):
        return {}
    draws = partial(draw, bench, policy, "validation", spec.prompts, spec.validation_samples, inference=inference)
    return {temperature: draws(temperature, aloud=True) for temperature in (declared if len(declared) > 1 else (1.0,))}


def draw(
    bench: Bench,
    policy: LanguageModel,
    split: Split,
    limit: int,
    samples: int,
    temperature: float,
    inference: Inference,
    *,
    aloud: bool = False,
) -> Graded:
    """Draws samples for a split's prompts and grades them. A sample's seed depends only on the split, the temperature,
    the index of the prompt in the split, and the index of the sample. With greedy decoding, all samples of a prompt
    are equal, so that only one is drawn and graded. `aloud`: print a line before drawing, because drawing may take
    minutes."""
    prompts = bench.prompts(split, limit)
    answers = samples if temperature > 0 else 1
    count = answers * inference.n
    if aloud:
        bench.say(f"measures {len(prompts) * count} answers to the {split} prompts at temperature {temperature:g}")
    rows = [prompt for prompt in prompts for _ in range(count)]
    ids = {prompt.id: policy.encode_prompt(prompt) for prompt in prompts}
    seeds = [bench.seed_for(split, str(temperature), i // count, i % count) for i in range(len(rows))]
    decoding = Decoding(max_new_tokens=bench.spec.max_new_tokens, temperature=temperature)
    drawn = bench.sampler.sample(policy, [ids[prompt.id] for prompt in rows], seeds=seeds, decoding=decoding)
    completions = policy.completions(drawn.batch)
    tokens = answers * sum(map(len, ids.values())) + int(drawn.batch.completion_lengths.sum())
    if inference.n > 1:
        kept = select(bench, rows, completions, inference)
        batch = drawn.batch.select(kept)
        drawn = Samples(batch, drawn.logprobs[kept, : batch.completion_ids.shape[1]])
        completions, rows = [completions[row] for row in kept], [rows[row] for row in kept]
    grades = bench.evaluators[0].grade(split, rows, completions)
    copies = samples // answers
    if copies > 1:
        order = [row for row in range(len(rows)) for _ in range(copies)]
        drawn = Samples(drawn.batch.select(order), drawn.logprobs[order])
        completions, grades = [completions[row] for row in order], [grades[row] for row in order]
    return Graded(prompts, samples, drawn, completions, grades, copies, tokens / max(1, answers * len(prompts)))


def select(
    bench: Bench, prompts: Sequence[Prompt], completions: Sequence[Completion], inference: Inference
) -> list[int]:
    """Returns, for each group of n rows, the index of the row with the selector's highest score. If several rows have
    the highest score, returns the first."""
    if inference.selector == "public-tests":
        tests = [prompt.public_tests if isinstance(prompt, Problem) else () for prompt in prompts]
        programs = [(answer.text, test) for answer, test in zip(completions, tests, strict=True)]
        verdicts = bench.testbed.judge(programs, problems=[prompt.id for prompt in prompts])
        scores = [float(sum(verdict.passed)) for verdict in verdicts]
    else:
        if bench.reward is None:
            raise UserError("Best-of-n with the selector `reward` needs a reward. Name a reward with --reward.")
        scores = bench.reward.score(prompts, completions)
    groups = range(0, len(scores), inference.n)
    return [max(range(start, start + inference.n), key=lambda row: (scores[row], -row)) for start in groups]


def summarise_answers(bench: Bench, graded: Graded, split: Split) -> dict[str, Any]:
    """Returns the measures of graded samples from a split, the scores and measures of each problem, and the number of
    samples with each outcome."""
    texts = [completion.text for completion in graded.completions[:: graded.copies]]
    measures = graded.measures() | {"distinct-2": distinct_n(texts, 2)}
    own: list[dict[str, float]] = [{} for _ in graded.prompts]
    for place, each in enumerate(bench.evaluators):
        if isinstance(each.evaluator, PolicyEvaluator):
            continue
        grades = graded.grade_by(each, split) if place else graded.grades
        for kept, values in zip(own, prompt_values(bench, each, graded.by_prompt(grades)), strict=True):
            kept |= values
    measures |= {name: sum(values[name] for values in own) / len(own) for name in own[0]}
    problems = {
        row.prompt.id: {"level": row.prompt.level, "scores": [grade.score for grade in row.grades], "measures": values}
        for row, values in zip(graded.by_prompt(), own, strict=True)
    }
    outcomes = Counter(grade.verdict.outcome for grade in graded.grades)
    return {"measures": measures, "problems": problems, "outcomes": dict(outcomes)}


def measure_elsewhere(bench: Bench, policy: LanguageModel) -> dict[str, dict[str, float]]:
    """Returns the measures of the `PolicyEvaluator`s, which measure a policy on their own items. The keys of the
    returned mapping are the names that the measures have in results. Each value maps items to numbers. The temperature
    and best-of-n have no effect, because a `PolicyEvaluator` measures the policy itself."""
    values: dict[str, dict[str, float]] = {}
    for each in bench.evaluators:
        if isinstance(each.evaluator, PolicyEvaluator):
            source = f"{type(each.evaluator).__name__}.measure_policy"
            bench.say(f"measures the policy by {', '.join(measure.label for measure in each.measures)}")
            with blaming_outside(each.evaluator, source):
                measurements = check_items(each.evaluator.measure_policy(policy), each.measures, source)
            values |= {each.prefix + name: items for name, items in measurements.items()}
    return values


def prompt_values(bench: Bench, each: OpenEvaluator, rows: Sequence[GradedPrompt]) -> list[dict[str, float]]:
    """Returns, for each prompt, the values of one evaluator's measures by their names in results."""
    values = each.summarise(rows, Summary(each.measures, bench.spec, bench.seed_for))
    return [{each.prefix + name: value for name, value in row.items()} for row in values]


def divergence(bench: Bench, policy: LanguageModel, graded: Graded, inference: Inference) -> dict[str, Any]:
    """Returns KL(policy || start) per response, in nats, and the policy's entropy per token, both along the policy's own
    samples at temperature 1.

    If the vocabulary is small, the KL of each step is a sum over the full vocabulary. For a large vocabulary, the k3
    estimator is used. For best-of-n, returns an upper bound of KL, and None for the entropy.
    """
    start = bench.start
    if start is None:
        return {"estimate": None, "estimator": "none: there is no reference model", "entropy": None}
    if inference.n > 1:
        bound = best_of_n_kl_bound(inference.n)
        return {"estimate": bound, "estimator": "closed-form upper bound of best-of-n", "entropy": None}
    # The KL samples are spread evenly over all problems.
    count = min(bench.spec.kl_samples, len(graded.completions))
    batch = graded.drawn.batch.select([row * len(graded.completions) // count for row in range(count)])

    def entropy(rows: Any) -> Any:
        terms = forward.token_logprobs(policy.model, rows, entropy=True).entropy
        assert terms is not None
        return ops.sequence_sum(terms, rows.mask)

    steps = float(batch.completion_lengths.sum())
    return {
        "estimate": estimate_kl(policy, start, batch, bench.token_budget),
        "estimator": "full-vocabulary sums along samples" if sums_vocabulary(policy) else "k3 along samples",
        "entropy": float(forward.by_micro_batch(policy.model, entropy, batch, bench.token_budget).sum()) / steps,
    }


def sums_vocabulary(policy: LanguageModel) -> bool:
    """Checks whether a policy's vocabulary is small enough for a KL that is summed over the full vocabulary."""
    return forward.Head(forward.unwrap(policy.model), 1.0).vocabulary <= EXACT_KL_VOCABULARY


def estimate_kl(policy: LanguageModel, start: LanguageModel, batch: TokenBatch, token_budget: int) -> float:
    """Returns KL(policy || start) per response, in nats, along answers that the policy drew at temperature 1."""
    exact = sums_vocabulary(policy)

    def kl(rows: Any) -> Any:
        if exact:
            terms = ops.exact_kl(forward.full_logprobs(policy.model, rows), forward.full_logprobs(start.model, rows))
            return ops.sequence_sum(rows.mask.float().masked_scatter(rows.mask, terms), rows.mask)
        mine, theirs = (forward.token_logprobs(lm.model, rows).logprobs for lm in (policy, start))
        return ops.sequence_sum(ops.kl_estimate(mine, theirs, "k3"), rows.mask)

    return float(forward.by_micro_batch(policy.model, kl, batch, token_budget).mean())


def first_answer(row: GradedPrompt) -> dict[str, Any]:
    """Returns a problem's first answer as plain data, for the report."""
    prompt, answer, grade = row.prompt, row.answers[0], row.grades[0]
    return {
        "problem": prompt.id,
        "prompt": "\n\n".join(turn.content for turn in prompt.turns),
        "level": prompt.level,
        **asdict(answer),
        "score": grade.score,
        "outcome": grade.verdict.outcome,
        "passed": list(grade.verdict.passed),
        "detail": dict(grade.verdict.detail),
    }
