"""Ranks samples of the policy by the scores of the run's reward, to make training data for RRHF and PRO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from preflab.errors import UserError
from preflab.fields import CountOrAll
from preflab.methods.base import Method, Parts
from preflab.methods.cost import Cost, DataSize
from preflab.methods.shared.rollout import roll_out, score_answers
from preflab.sampling.base import Decoding
from preflab.types import Completion, Prompt, Ranking


class Rankings(Method):
    """A stage that makes rankings: the initial policy draws `samples` answers to each of `prompts` prompts (0: all),
    and the run's reward scores the answers. The authors of RRHF draw 4 answers. `demonstration`: if true, the testbed's
    answer to the prompt is scored by the same reward and ranked too."""

    kind: Literal["rankings"] = "rankings"
    product = "rankings"
    scores_samples = True
    prompts: CountOrAll = 0
    samples: Annotated[int, Field(ge=2)] = 4
    demonstration: bool = False
    decoding: Decoding = Decoding()

    def train(self, parts: Parts) -> Sequence[Ranking]:
        run = parts.run
        # 1. Choose the prompts. A labels budget limits their number.
        prompts = parts.prompts()
        order = run.seeds.permute(len(prompts), "prompts")[: self.prompts or len(prompts)]
        price = self.samples + self.demonstration
        affordable = run.labels.require(reward=parts.needed_reward(), price=price)
        chosen = [prompts[i] for i in order[:affordable]]
        # 2. Sample the answers and score them.
        rollout = roll_out(parts, chosen, "rankings", decoding=self.decoding, group=self.samples)
        scores = rollout.scores.tolist()
        demonstrations = score_demonstrations(parts, chosen) if self.demonstration else {}
        # 3. Rank the answers. A prompt whose answers all score the same is left out: no answer is better than another.
        rankings: list[Ranking] = []
        for prompt, span in zip(chosen, rollout.groups(), strict=True):
            answers = [*zip(rollout.completions[span], scores[span], strict=True), *demonstrations.get(prompt.id, ())]
            rankings.append(make_ranking(prompt, answers))
        kept = [ranking for ranking in rankings if len(set(ranking.scores)) > 1]
        if not kept:
            raise UserError("No prompt has two answers with different scores: there are no rankings to learn from.")
        return kept

    def cost(self, size: DataSize) -> Cost:
        """Returns the cost of drawing and scoring every sample. If `demonstration` is true, the cost of scoring the
        testbed's answer to each prompt is included."""
        prompts = self.prompts or size.prompts
        scored = prompts * (self.samples + self.demonstration)
        return Cost(drawn=prompts * self.samples, scored=scored, made=prompts)


def score_demonstrations(parts: Parts, prompts: Sequence[Prompt]) -> dict[str, list[tuple[Completion, float]]]:
    """Scores the testbed's answers to the prompts. Returns a dictionary from prompt id to a list with one answer and
    its score. Prompts without an answer in the testbed are left out."""
    answers = {row.prompt.id: row.completion for row in parts.testbed.demonstrations("train")}
    answered = [prompt for prompt in prompts if prompt.id in answers]
    if not answered:
        return {}
    completions = [answers[prompt.id] for prompt in answered]
    scores = score_answers(parts, answered, completions, key="demonstrations", own=False)
    return {prompt.id: [(answer, score)] for prompt, answer, score in zip(answered, completions, scores, strict=True)}


def make_ranking(prompt: Prompt, answers: Sequence[tuple[Completion, float]]) -> Ranking:
    """Makes a ranking of the answers with their scores. An answer that was drawn more than once is ranked only once."""
    distinct: dict[Completion, float] = {}
    for answer, score in answers:
        distinct.setdefault(answer, score)
    return Ranking(prompt, tuple(distinct), tuple(distinct.values()))
