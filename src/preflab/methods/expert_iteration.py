"""Expert iteration: draw many answers to each prompt, imitate the right ones, and repeat with the better policy.

Anthony et al. 2017; ReST-EM (Singh et al. 2023). The E-step draws y ~ pi_k and keeps an answer if s(x, y) >= right. The
M-step minimises L = -E_t log pi(y_t | x, y_<t) on the kept answers. Each M-step begins at the *starting* weights, so that
the rounds do not drift away from these weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from pydantic import FiniteFloat

from preflab.batch import TokenBatch, collate_demonstrations
from preflab.errors import UserError
from preflab.fields import Count, CountOrAll
from preflab.methods.base import Method, Parts
from preflab.methods.cost import Cost, DataSize
from preflab.methods.sft import nll
from preflab.methods.shared.rollout import roll_out, take_prompts
from preflab.methods.shared.rounds import Rounds
from preflab.models.lm import LanguageModel
from preflab.models.reference import Reference
from preflab.sampling.base import Decoding
from preflab.train.learner import Learner, Optim
from preflab.types import Completion, Demonstration, Prompt, from_completion, to_completion


class ExpertIteration(Method):
    """ReST-EM's values: two rounds, 32 samples of each prompt at temperature .7 and top-k 40, at most 10 right samples of a
    prompt.

    `right`: an answer is right if it scores this or more; 10 is the full score of the tests. `most`: the largest number of
    right answers that are kept for a prompt. `prompts`: the number of prompts in each round (0: all). `restart`: if true,
    each round begins at the starting weights, with a schedule of its own; otherwise each round begins at the newest weights,
    and one schedule spans the run. The optimizer's defaults are those of SFT. A compute budget overrides `rounds`."""

    kind: Literal["expert-iteration"] = "expert-iteration"
    scores_samples = True
    rounds: Count = 2
    prompts: CountOrAll = 0
    samples: Count = 32
    right: FiniteFloat = 10.0
    most: Count = 10
    restart: bool = True
    decoding: Decoding = Decoding(temperature=0.7, top_k=40)
    epochs: Count = 3
    batch_size: Count = 64
    max_completion_tokens: Count = 1024
    optim: Optim = Optim(learning_rate=1e-5)

    def train(self, parts: Parts) -> LanguageModel:
        run, policy = parts.run, parts.policy
        learner, start = parts.learner(policy.model, self.optim), Reference(policy.model)
        rounds = open_answer_rounds(self, parts)
        state = {"policy": learner, "rounds": rounds}
        for _ in run.steps(rounds.share, state, policy=policy, validate=parts.validate):
            # 1. A new round: right answers of the newest policy.
            if rounds.finished():
                has_answers = rounds.begin()
                run.record.log({"round": rounds.number, "kept": rounds.size, "reward": rounds.drawn["reward"]})
                if not has_answers:
                    continue
                if self.restart:
                    start_again(learner, start)
            # 2. Imitate the step's answers.
            progress = rounds.within if self.restart else run.progress
            batch = rounds.next_batch()
            count = float(batch.completion_lengths.sum())
            update = learner.step(batch, lambda rows: nll(policy, rows), count=count, progress=progress)
            run.record.log({**update, "round": rounds.number, "kept": rounds.size})
        return policy

    def cost(self, size: DataSize) -> Cost:
        """At most `most` right answers of each prompt are trained on."""
        prompts = self.rounds * (self.prompts or size.prompts)
        drawn = prompts * self.samples
        return Cost(drawn=drawn, scored=drawn, trained=self.epochs * prompts * min(self.most, self.samples))


def start_again(learner: Learner, start: Reference) -> None:
    """Sets the learner back to the start of the run: the starting weights, an Adam without moments, a schedule at 0. The
    learner's counts of updates and skipped updates go on."""
    learner.optimizer.state.clear()
    learner.load_state_dict(learner.state_dict() | {"weights": start.tensors, "position": 0.0, "progress": 0.0})


def open_answer_rounds(spec: ExpertIteration, parts: Parts) -> Rounds[TokenBatch]:
    """Makes the rounds; none has begun yet. Raises `UserError` if the decoding is greedy with several samples of a prompt,
    or if the testbed has no prompts."""
    prompts = parts.prompts()
    if spec.decoding.temperature <= 0 and spec.samples > 1:
        raise UserError("Greedy samples of a prompt are all the same: decoding.temperature must be above 0.")
    count = spec.prompts or len(prompts)  # the prompts of each round
    reward, price = parts.needed_reward(), spec.samples
    return Rounds(
        parts.run,
        rounds=parts.run.labels.cap_rounds(spec.rounds, prompts=count, reward=reward, price=price),
        epochs=spec.epochs,
        batch_size=spec.batch_size,
        draw=partial(draw_round_of_answers, spec, parts, prompts, count),
        read=partial(read_round_of_answers, spec, parts.policy, prompts),
        barren=f"no right answer: none scores {spec.right:g}. "
        "Draw more samples a prompt, lower `right`, or start from a policy that is right at times.",
    )


def draw_round_of_answers(
    spec: ExpertIteration, parts: Parts, prompts: list[Prompt], count: int, number: int
) -> dict[str, Any]:
    """Draws a round. Returns `answers`, the right answers, each as a list of the prompt's id and the answer's data, and
    `reward`, the mean score of all answers that were drawn."""
    chosen = take_prompts(parts, prompts, number, count, price=spec.samples)
    name = f"round-{number:04d}"
    rollout = roll_out(parts, chosen, name, decoding=spec.decoding, group=spec.samples)
    answers = [
        [prompt.id, *from_completion(answer)]
        for prompt, rows in zip(chosen, rollout.groups(), strict=True)
        for answer in keep_right(rollout.completions[rows], rollout.scores[rows].tolist(), spec.right, spec.most)
    ]
    return {"answers": answers, "reward": float(rollout.scores.mean())}


def keep_right(completions: Sequence[Completion], scores: Sequence[float], right: float, most: int) -> list[Completion]:
    """The first `most` distinct answers that score `right` or more, in the order in which they were drawn."""
    distinct = dict.fromkeys(answer for answer, score in zip(completions, scores, strict=True) if score >= right)
    return list(distinct)[:most]


def read_round_of_answers(
    spec: ExpertIteration, policy: LanguageModel, prompts: list[Prompt], drawn: dict[str, Any]
) -> TokenBatch | None:
    """A round's right answers as ids. Returns None if the round has no right answer."""
    if not drawn["answers"]:
        return None
    by_id = {prompt.id: prompt for prompt in prompts}
    rows = [Demonstration(by_id[name], to_completion(answer)) for name, *answer in drawn["answers"]]
    return collate_demonstrations(rows, policy.encode, limit=spec.max_completion_tokens)
