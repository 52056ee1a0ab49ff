"""Expert iteration draws many answers to each prompt, imitates the right answers, and repeats with the new policy.

The method follows Anthony et al. 2017 and ReST-EM (Singh et al. 2023). The E-step draws y ~ pi_k and keeps an answer if
its score s(x, y) is at least the setting `right`. The M-step minimises L = -E_t log pi(y_t | x, y_<t) on the kept
answers. Each M-step begins at the *starting* weights of the run, so that the policy does not drift away from these
weights over the rounds.
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
    """The defaults are those of ReST-EM: two rounds, 32 samples for each prompt at temperature .7 and top-k 40, and at
    most 10 right samples for each prompt.

    `right`: an answer counts as right if its score is `right` or more. An answer that passes all tests scores 10.
    `most`: at most this many right answers are kept for each prompt. `prompts`: the number of prompts in each round (0:
    all). `restart`: if true, each round begins at the starting weights of the run and with a new learning-rate
    schedule. If false, each round continues from the newest weights, and one schedule covers the whole run. The
    optimizer has the defaults of SFT. If the run has a compute budget, `rounds` is ignored."""

    kind: Literal["expert-iteration"] = "expert-iteration"
    keeps_reference = True
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
        if run.ending.plateau is not None and self.restart:
            raise UserError(
                "`plateau` cannot be used with `restart: true`, because each round then restarts training. "
                "Set `restart: false`, or leave out `plateau`."
            )
        learner, start = parts.learner(policy.model, self.optim), Reference(policy.model)
        rounds = open_answer_rounds(self, parts)
        state = {"policy": learner, "rounds": rounds}
        for _ in run.steps(rounds.share, state, policy=policy, validate=parts.validate):
            # 1. Begin a new round: draw answers from the newest policy and keep the right answers.
            if rounds.finished():
                has_answers = rounds.begin()
                run.record.log({"round": rounds.number, "kept": rounds.size, "reward": rounds.drawn["reward"]})
                if not has_answers:
                    continue
                if self.restart:
                    start_again(learner, start)
            # 2. Make one update on the answers of this step.
            middle = (rounds.update + 0.5) / rounds.updates  # the share of the round at the midpoint of the update
            batch = rounds.next_batch()
            progress = middle if self.restart else run.progress_of_update()
            count = float(batch.completion_lengths.sum())
            update = learner.step(batch, lambda rows: nll(policy, rows), count=count, progress=progress)
            run.record.log({**update, "round": rounds.number, "kept": rounds.size})
        return policy

    def cost(self, size: DataSize) -> Cost:
        """Returns an upper bound on the cost. The bound assumes that all `samples` answers to each prompt are right, so
        that the smaller of `most` and `samples` is the number of kept answers."""
        prompts = self.rounds * (self.prompts or size.prompts)
        drawn = prompts * self.samples
        return Cost(drawn=drawn, scored=drawn, trained=self.epochs * prompts * min(self.most, self.samples))


def start_again(learner: Learner, start: Reference) -> None:
    """Resets the learner to the start of the run: restores the starting weights, clears Adam's moments, and sets the
    learning-rate schedule to its beginning. The learner's counts of updates and of skipped updates are not reset."""
    learner.optimizer.state.clear()
    learner.load_state_dict(learner.state_dict() | {"weights": start.tensors, "position": 0.0, "progress": 0.0})


def open_answer_rounds(spec: ExpertIteration, parts: Parts) -> Rounds[TokenBatch]:
    """Makes a `Rounds` object whose first round has not begun. Raises `UserError` if the testbed has no prompts, or if
    `samples` is above 1 and the decoding is greedy."""
    prompts = parts.prompts()
    if spec.decoding.temperature <= 0 and spec.samples > 1:
        raise UserError("All greedy samples of a prompt are the same: decoding.temperature must be above 0.")
    count = spec.prompts or len(prompts)  # the number of prompts in each round
    reward, price = parts.needed_reward(), spec.samples
    return Rounds(
        parts.run,
        rounds=parts.run.labels.cap_rounds(spec.rounds, prompts=count, reward=reward, price=price),
        epochs=spec.epochs,
        batch_size=spec.batch_size,
        draw=partial(draw_round_of_answers, spec, parts, prompts, count),
        read=partial(read_round_of_answers, spec, parts.policy, prompts),
        barren=f"no right answer: no answer scores {spec.right:g} or more. "
        "Draw more samples of each prompt, lower `right`, or start from a policy that is sometimes right.",
    )


def draw_round_of_answers(
    spec: ExpertIteration, parts: Parts, prompts: list[Prompt], count: int, number: int
) -> dict[str, Any]:
    """Draws and scores the answers of a round. Returns a dictionary with two keys. `answers`: one list for each right
    answer that is kept. The list contains the prompt's id and then the fields of the answer. `reward`: the mean score
    of all drawn answers."""
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
    """Returns the first `most` distinct answers that score `right` or more, in the order in which they were drawn."""
    distinct = dict.fromkeys(answer for answer, score in zip(completions, scores, strict=True) if score >= right)
    return list(distinct)[:most]


def read_round_of_answers(
    spec: ExpertIteration, policy: LanguageModel, prompts: list[Prompt], drawn: dict[str, Any]
) -> TokenBatch | None:
    """Converts the result of `draw_round_of_answers` into a batch of token ids. Returns None if the round has no right
    answer."""
    if not drawn["answers"]:
        return None
    by_id = {prompt.id: prompt for prompt in prompts}
    rows = [Demonstration(by_id[name], to_completion(answer)) for name, *answer in drawn["answers"]]
    return collate_demonstrations(rows, policy.encode, limit=spec.max_completion_tokens)
