"""Makes preference pairs from the policy's own samples. The samples are scored by the reward of the run.

`Pairs` is a stage of a study that makes on-policy pairs for later stages, such as DPO or a reward model. DPO-Iter calls
`draw_pairs` in each round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat

from preflab.errors import UserError
from preflab.fields import Count, CountOrAll
from preflab.methods.base import Method, Parts
from preflab.methods.cost import Cost, DataSize
from preflab.methods.shared.rollout import roll_out, score_answers
from preflab.sampling.base import Decoding
from preflab.spec import Spec
from preflab.types import Completion, Preference, Prompt

PairRule = Literal["best-worst", "random", "all"]


class PairDraw(Spec):
    """The settings for drawing answers and making pairs of them. `samples`: the number of answers to each prompt (Xu et
    al. 2024 use 5 on APPS). `rule`: which pairs of a prompt's answers are used. The rule `best-worst` pairs the best
    answer with the worst, `random` takes one random pair of a better and a worse answer, and `all` takes every such
    pair. `right`: an answer counts as right if its score is `right` or more. If `right` is None, answers are compared
    by their scores. `fill`: if true, a right demonstration becomes the chosen answer of a prompt that has no right
    sample (Xu et al. 2024, Section 6)."""

    samples: Count = 5
    rule: PairRule = "random"
    right: FiniteFloat | None = None
    fill: bool = True
    decoding: Decoding = Decoding()


class Pairs(Method):
    """A stage that makes pairs from the initial policy's answers. The answers are scored by the run's reward.
    `prompts`: the number of prompts (0: all). `levels`: the difficulty levels whose prompts are used (empty: all
    levels). `flips`: the share of the pairs whose chosen and rejected answers are swapped. The run's seed selects
    exactly this share of the pairs, rounded to whole pairs."""

    kind: Literal["pairs"] = "pairs"
    product = "preferences"
    scores_samples = True
    prompts: CountOrAll = 0
    levels: tuple[Annotated[str, Field(coerce_numbers_to_str=True)], ...] = ()
    flips: float = Field(default=0.0, ge=0, le=1)
    draw: PairDraw = PairDraw()

    def train(self, parts: Parts) -> Sequence[Preference]:
        run = parts.run
        prompts = self.choose_prompts(parts)
        order = run.seeds.permute(len(prompts), "prompts")
        affordable = run.labels.require(reward=parts.needed_reward(), price=self.draw.samples)
        chosen = [prompts[i] for i in order[: self.prompts or len(order)]][:affordable]
        pairs = draw_pairs(self.draw, parts, chosen, name="pairs")
        if not pairs:
            raise UserError("No prompt has two answers with different scores: there are no pairs to learn from.")
        wrong = set(run.seeds.permute(len(pairs), "flips")[: round(self.flips * len(pairs))])
        return [
            replace(pair, chosen=pair.rejected, rejected=pair.chosen) if row in wrong else pair
            for row, pair in enumerate(pairs)
        ]

    def choose_prompts(self, parts: Parts) -> list[Prompt]:
        """Returns the training prompts whose level is in `levels`. If `levels` is empty, returns all training prompts.
        Raises `UserError` if there are no such prompts."""
        prompts = parts.prompts()
        chosen = [prompt for prompt in prompts if not self.levels or prompt.level in self.levels]
        if not chosen:
            known = sorted({prompt.level for prompt in prompts} - {""})
            raise UserError(
                f"The testbed {parts.testbed.name} has no training prompts of the levels {', '.join(self.levels)}. "
                + (f"Its levels: {', '.join(known)}." if known else "Its prompts have no levels. Leave out `levels`.")
            )
        return chosen

    def cost(self, size: DataSize) -> Cost:
        """Returns the cost of drawing and scoring every sample. If `draw.right` is set, the reward also scores some
        demonstrations; these scores are not counted."""
        prompts = self.prompts or size.prompts
        drawn = prompts * self.draw.samples
        return Cost(drawn=drawn, scored=drawn, made=prompts)


def draw_pairs(draw: PairDraw, parts: Parts, prompts: Sequence[Prompt], name: str) -> list[Preference]:
    """Draws samples from the policy and pairs the samples of each prompt: the sample with the higher reward is the
    chosen answer. Two samples with equal scores make no pair, so some prompts can have no pair. The margin of a pair is
    the difference between its two scores."""
    # 1. Sample the answers and score them.
    rollout = roll_out(parts, prompts, name, decoding=draw.decoding, group=draw.samples)
    scores = rollout.scores.tolist()
    # 2. Make pairs of the answers.
    fills = find_right_demonstrations(draw, parts, prompts, scores, name)
    pairs: list[Preference] = []
    for i, (prompt, span) in enumerate(zip(prompts, rollout.groups(), strict=True)):
        rng = parts.run.seeds.generator(name, "pair", i)
        rows = pair_answers(draw, rollout.completions[span], scores[span], fills.get(prompt.id), rng)
        pairs += [Preference(prompt, chosen, rejected, margin=gap) for chosen, rejected, gap in rows]
    return pairs


def find_right_demonstrations(
    draw: PairDraw, parts: Parts, prompts: Sequence[Prompt], scores: Sequence[float], name: str
) -> dict[str, Completion]:
    """Finds right demonstrations for the prompts that have no right sample. Returns a dictionary from prompt id to
    demonstration. The run's reward scores the testbed's demonstrations for these prompts; each score costs one label.
    Demonstrations that are not right are left out."""
    if not draw.fill or draw.right is None:
        return {}
    answers = {row.prompt.id: row.completion for row in parts.testbed.demonstrations("train")}
    lacking = [
        prompt
        for i, prompt in enumerate(prompts)
        if prompt.id in answers and max(scores[i * draw.samples : (i + 1) * draw.samples]) < draw.right
    ]
    left = parts.run.labels.remaining()
    lacking = lacking if left is None else lacking[:left]
    if not lacking:
        return {}
    demonstrations = [answers[prompt.id] for prompt in lacking]
    fill_scores = score_answers(parts, lacking, demonstrations, key=f"fills-{name}", own=False)
    rows = zip(lacking, demonstrations, fill_scores, strict=True)
    return {prompt.id: answer for prompt, answer, score in rows if score >= draw.right}


def pair_answers(
    draw: PairDraw, completions: Sequence[Completion], scores: Sequence[float], fill: Completion | None, rng: Any
) -> list[tuple[Completion, Completion, float]]:
    """Makes pairs from one prompt's samples. Each pair is (chosen, rejected, difference of their scores). Two answers
    with equal scores or equal texts make no pair.

    If `draw.right` is set, a score of `draw.right` or more becomes 1, and a lower score becomes 0. If `draw.right` is
    None, the scores are used as they are.
    """
    answers = list(zip(completions, scores, strict=True))
    if draw.right is not None:
        answers = [(answer, float(score >= draw.right)) for answer, score in answers]
        if fill is not None and not any(score for _, score in answers):
            answers.append((fill, 1.0))
    pairs = [
        (better, worse, high - low)
        for (better, high), (worse, low) in product(answers, answers)
        if high > low and better.text != worse.text
    ]
    if not pairs or draw.rule == "all":
        return pairs
    if draw.rule == "random":
        return [rng.choice(pairs)]
    return [max(pairs, key=lambda row: row[2])]
