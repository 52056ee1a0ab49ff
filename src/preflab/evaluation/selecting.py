"""Selects the best of n answers to a prompt by the public tests or by a reward. The evaluator must not be used to
select."""

from __future__ import annotations

from collections.abc import Sequence

from preflab.errors import UserError
from preflab.evaluation.bench import Bench
from preflab.sampling.inference import Inference
from preflab.types import Completion, Problem, Prompt


def select(
    bench: Bench, prompts: Sequence[Prompt], completions: Sequence[Completion], inference: Inference
) -> list[int]:
    """Selects one completion of each group of `inference.n` completions: the completion to which the selector gives the
    highest score. If several completions have this score, selects the first of them. Returns the indices of the
    selected completions."""
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
