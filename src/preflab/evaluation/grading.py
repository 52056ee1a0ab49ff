"""Draws a policy's answers to the prompts of a split, and grades them by the main evaluator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from preflab.evaluation.base import Grade, GradedPrompt
from preflab.evaluation.bench import AnyPolicy, Bench, OpenEvaluator
from preflab.evaluation.drawing import DrawnAnswers, draw_rows
from preflab.evaluation.measures import truncated_share
from preflab.evaluation.selecting import select
from preflab.sampling.base import Decoding
from preflab.sampling.inference import Inference
from preflab.types import Completion, Prompt, Split


@dataclass(frozen=True)
class Graded:
    """Graded answers to some prompts, sampled at one temperature. `samples`: the number of answers to each prompt. Each
    answer has one row in `drawn` and in `grades`. Row i belongs to an answer to `prompts[i // samples]`."""

    prompts: Sequence[Prompt]
    samples: int
    drawn: DrawnAnswers
    grades: Sequence[Grade]
    copies: int
    """How many rows contain the same drawn answer. With greedy decoding, one answer to a prompt is drawn and fills
    `samples` rows. At any other temperature, each drawn answer fills one row."""
    tokens_an_answer: float | None
    """The mean number of tokens that one answer needs: the tokens of its prompt, plus the tokens of all samples drawn
    for the answer. Best-of-n draws n samples for one answer. None if the server of a served policy does not report
    them."""

    @property
    def completions(self) -> Sequence[Completion]:
        """The answer in each row."""
        return self.drawn.completions

    def score(self) -> float:
        return sum(grade.score for grade in self.grades) / len(self.grades)

    def scores_by_problem(self) -> dict[str, float]:
        """Returns the mean score of the answers to each prompt, by the prompt's id."""
        return {row.prompt.id: sum(grade.score for grade in row.grades) / self.samples for row in self.by_prompt()}

    def measures(self) -> dict[str, float]:
        """Returns the mean score, the mean length in tokens if it is known, and the share of truncated answers."""
        length = self.drawn.mean_length()
        known = {} if length is None else {"length": length}
        return {"score": self.score(), **known, "truncated": truncated_share(self.completions)}

    def grade_by(self, each: OpenEvaluator, split: Split) -> list[Grade]:
        """Returns the grade that the evaluator `each` gives to the answer in each row. The evaluator grades each drawn
        answer once, and the copies of the answer get the same grade."""
        grades = each.grade(split, self.prompt_rows[:: self.copies], self.completions[:: self.copies])
        return [grade for grade in grades for _ in range(self.copies)]

    @property
    def prompt_rows(self) -> list[Prompt]:
        """The prompts of all rows. Row i contains an answer to prompt i of this list."""
        return [prompt for prompt in self.prompts for _ in range(self.samples)]

    def by_prompt(self, grades: Sequence[Grade] | None = None) -> list[GradedPrompt]:
        """Returns one `GradedPrompt` for each prompt, with the prompt's answers and their grades. `grades`: one grade
        for each row; if None, the grades of the first evaluator."""
        grades = self.grades if grades is None else grades
        rows = range(0, len(grades), self.samples)
        return [
            GradedPrompt(prompt, self.completions[row : row + self.samples], grades[row : row + self.samples])
            for prompt, row in zip(self.prompts, rows, strict=True)
        ]


def draw(
    bench: Bench,
    policy: AnyPolicy,
    split: Split,
    limit: int,
    samples: int,
    temperature: float,
    inference: Inference,
    *,
    aloud: bool = False,
) -> Graded:
    """Draws answers to a split's prompts and grades the answers. A sample's seed depends only on the split, the
    temperature, the index of the prompt in the split, and the index of the sample. With greedy decoding, all samples of
    a prompt are equal, so only one sample is drawn and graded. `aloud`: whether to print a line before drawing, because
    drawing can take minutes."""
    prompts = bench.prompts(split, limit)
    answers = samples if temperature > 0 else 1
    count = answers * inference.n
    if aloud:
        bench.say(f"measures {len(prompts) * count} answers to the {split} prompts at temperature {temperature:g}")
    rows = [prompt for prompt in prompts for _ in range(count)]
    seeds = [bench.seed_for(split, str(temperature), i // count, i % count) for i in range(len(rows))]
    decoding = Decoding(max_new_tokens=bench.spec.max_new_tokens, temperature=temperature)
    drawn = draw_rows(bench, policy, rows, seeds=seeds, decoding=decoding)
    tokens = None
    if drawn.lengths is not None and drawn.prompt_lengths is not None:
        tokens = (answers * sum(drawn.prompt_lengths[::count]) + sum(drawn.lengths)) / max(1, answers * len(prompts))
    if inference.n > 1:
        kept = select(bench, rows, drawn.completions, inference)
        drawn, rows = drawn.select(kept), [rows[row] for row in kept]
    grades = bench.evaluators[0].grade(split, rows, drawn.completions)
    copies = samples // answers
    if copies > 1:
        order = [row for row in range(len(rows)) for _ in range(copies)]
        drawn, grades = drawn.select(order), [grades[row] for row in order]
    return Graded(prompts, samples, drawn, grades, copies, tokens)


def draw_to_measure(bench: Bench, policy: AnyPolicy, split: Split, temperature: float, inference: Inference) -> Graded:
    """Draws and grades `samples` answers to each of the first `prompts` prompts of a split. If `prompts` is 0, uses all
    prompts of the split. The numbers `samples` and `prompts` come from the settings in `bench.spec`."""
    return draw(bench, policy, split, bench.spec.prompts, bench.spec.samples, temperature, inference, aloud=True)
