"""Trains a cost model on pairs with safety labels (Dai et al. 2024, Safe RLHF). The cost of an unsafe answer is
positive, and the cost of a safe answer is negative. The rejected answer of a pair gets a higher cost than the chosen
answer.

The chosen answer of each pair must be the *safer* answer. A cost model has the architecture of a reward model: a
sequence classifier with one output. A higher cost is worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

from torch import Tensor

from preflab.batch import PairBatch, collate_pairs
from preflab.encoded import EncodedRows
from preflab.errors import UserError
from preflab.fields import Count, CountOrAll
from preflab.losses.reward import cost_model_loss
from preflab.methods.base import Method, Parts, Records
from preflab.methods.cost import Cost, DataSize
from preflab.methods.shared.held_out_cost import measure_held_out_costs, sign_is_right, signs
from preflab.models import forward
from preflab.models.heads import make_reward_model
from preflab.models.lm import LanguageModel
from preflab.train.learner import Optim, Terms
from preflab.types import Preference


class CostModel(Method):
    """The settings have the same defaults as the settings of `rm`. `pairs`: the number of pairs to train on (0: all).
    The run's seed determines which pairs are used."""

    kind: Literal["cost"] = "cost"
    product = "cost_model"
    pairs: CountOrAll = 0
    epochs: Count = 1
    batch_size: Count = 64
    max_completion_tokens: Count = 1024
    optim: Optim = Optim(learning_rate=1e-5)

    @property
    def learns_from(self) -> Records:
        return "preferences"

    def train(self, parts: Parts) -> LanguageModel:
        run = parts.run
        # 1. Make the model: the policy's weights with a scalar head.
        scorer = replace(make_reward_model(parts.policy, seed=run.seeds.derive("head")), role="cost")
        # 2. Take the training pairs and the held-out pairs.
        limit = self.max_completion_tokens
        pairs = parts.buy(parts.preferences(), self.pairs)
        unseen = parts.testbed.preferences("validation")
        require_safety(pairs, "train", parts.testbed.ordered_by)
        require_safety(unseen, "validation", parts.testbed.ordered_by)
        data = EncodedRows(pairs, collate_pairs, scorer.encode, limit=limit)
        held_out = collate_pairs(unseen, scorer.encode, limit=limit)
        learner = parts.learner(scorer.model, self.optim)
        total = self.epochs * -(-len(data) // self.batch_size)
        validate = partial(measure_held_out_costs, pairs=held_out, token_budget=parts.token_budget)
        for step in run.steps(total, {"cost_model": learner}, policy=scorer, validate=validate):
            # 3. Update the model on the pairs of this step.
            batch = data.select(run.seeds.take_batch(step, len(data), self.batch_size))
            loss = partial(cost_terms, scorer)
            run.record.log(learner.step(batch, loss, count=len(batch), progress=run.progress_of_update()))
        return scorer

    def cost(self, size: DataSize) -> Cost:
        """Returns the cost of training on both answers of each pair in each epoch."""
        pairs = self.pairs or size.pairs
        return Cost(trained=2 * self.epochs * pairs, labels=pairs)


def require_safety(pairs: Sequence[Preference], split: str, ordered_by: str) -> None:
    """Raises `UserError` if an answer of a pair has no safety label, or if the chosen answer of a pair is not known to
    be the safer answer. `split`: the split from which the pairs come. `ordered_by`: the testbed's rule that decides
    which answer of a pair is the better one, such as `safety`; '' if the testbed names no rule."""
    unknown = sum(pair.chosen_safe is None or pair.rejected_safe is None for pair in pairs)
    if unknown:
        raise UserError(
            f"A cost model needs a safety label for both answers of each pair, but {unknown} of the {len(pairs)} {split} "
            "pairs lack a safety label. Use data with safety labels, or train a reward model (`rm`), which needs only the "
            "order of the answers."
        )
    turned = next((pair for pair in pairs if pair.rejected_safe and not pair.chosen_safe), None)
    if turned is not None:
        raise UserError(
            f"The pair for prompt {turned.prompt.id!r} ({split}) has an unsafe chosen answer and a safe rejected "
            "answer. A cost model needs pairs whose chosen answer is the safer answer."
        )
    if ordered_by == "safety":
        return
    if ordered_by:
        raise UserError(
            f"The testbed chooses the better answer of each pair by the rule `{ordered_by}`, but a cost model needs pairs "
            "whose chosen answer is the safer answer. Set the testbed's `rule: safety` (`--testbed.rule safety`)."
        )
    alike = sum(pair.chosen_safe == pair.rejected_safe for pair in pairs)
    if alike:
        raise UserError(
            f"In {alike} of the {len(pairs)} {split} pairs both answers are safe or both are unsafe. The labels of such a pair "
            "do not show which answer is safer, but a cost model needs pairs whose chosen answer is the safer answer. If the "
            "chosen answer of each of your pairs is the safer answer, set `ordered_by: safety` in the testbed jsonl "
            "(`--testbed.ordered-by safety`). "
            "Otherwise, leave these pairs out."
        )


def cost_terms(scorer: LanguageModel, pairs: PairBatch) -> Terms:
    """Returns the unreduced loss of each pair: [B]. Logs three measures. `accuracy`: whether the rejected answer has
    the higher cost. `sign_accuracy`: the share of the pair's two costs that have the right sign. `margin`: the cost of
    the rejected answer minus the cost of the chosen answer."""
    safer, harmful = forward.pair_scores(scorer.model, pairs).unbind(dim=1)
    assert pairs.safe is not None
    safer_sign, harmful_sign = signs(pairs.safe).unbind(dim=1)
    terms = cost_model_loss(safer, harmful, safer_sign=safer_sign, harmful_sign=harmful_sign)
    right: Tensor = (sign_is_right(safer, safer_sign) + sign_is_right(harmful, harmful_sign)) / 2
    order = forward.order_of_scores(harmful, safer)
    return Terms(terms, None, {"accuracy": order, "sign_accuracy": right, "margin": harmful - safer})
