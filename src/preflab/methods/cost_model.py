"""Trains a cost model on pairs with safety labels (Dai et al. 2024, Safe RLHF). The sign of the cost separates safe
from unsafe answers. Of the two answers in a pair, the rejected answer gets the higher cost.

The chosen answer of each pair must be the *safer* answer. A cost model has the shape of a reward model: a sequence
classifier with one label. A higher cost is worse.
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
    """The defaults are the defaults of `rm`, because the paper gives no settings for the cost model. `pairs`: the
    number of pairs to train on (0: all); the run's seed selects them."""

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
    """Raises `UserError` if a pair does not say whether each of its answers is safe, or if its chosen answer is not
    known to be the safer one. `split`: the split from which the pairs come. `ordered_by`: the testbed's name for the
    rule by which the pairs are ordered; '' if the testbed names no rule."""
    unknown = sum(pair.chosen_safe is None or pair.rejected_safe is None for pair in pairs)
    if unknown:
        raise UserError(
            f"A cost model needs to know for both answers of each pair whether the answer is safe, but {unknown} of the "
            f"{len(pairs)} {split} pairs do not say so. Use data with safety labels, or train a reward model (`rm`) on "
            "the order alone."
        )
    turned = next((pair for pair in pairs if pair.rejected_safe and not pair.chosen_safe), None)
    if turned is not None:
        raise UserError(
            f"The pair for prompt {turned.prompt.id!r} ({split}) has an unsafe chosen answer and a safe rejected "
            "answer. A cost model needs pairs that are ordered by safety: the chosen answer must be the safer answer."
        )
    if ordered_by == "safety":
        return
    if ordered_by:
        raise UserError(
            f"The testbed orders its pairs by the rule `{ordered_by}`, but a cost model needs the safer answer as the chosen "
            "one. Set the testbed's `rule: safety` (`--testbed.rule safety`)."
        )
    alike = sum(pair.chosen_safe == pair.rejected_safe for pair in pairs)
    if alike:
        raise UserError(
            f"In {alike} of the {len(pairs)} {split} pairs both answers are safe or both are unsafe, and nothing says that the "
            "chosen answer is the safer one. A cost model needs the safer answer as the chosen one. If your pairs are ordered "
            "so, set `ordered_by: safety` in the testbed jsonl (`--testbed.ordered-by safety`). If not, leave these pairs out."
        )


def cost_terms(scorer: LanguageModel, pairs: PairBatch) -> Terms:
    """Returns the unreduced loss of each pair: [B]. Logs the accuracy of the order, the accuracy of the signs, and the
    margin."""
    safer, harmful = forward.pair_scores(scorer.model, pairs).unbind(dim=1)
    assert pairs.safe is not None
    safer_sign, harmful_sign = signs(pairs.safe).unbind(dim=1)
    terms = cost_model_loss(safer, harmful, safer_sign=safer_sign, harmful_sign=harmful_sign)
    right: Tensor = (sign_is_right(safer, safer_sign) + sign_is_right(harmful, harmful_sign)) / 2
    order = forward.order_of_scores(harmful, safer)
    return Terms(terms, None, {"accuracy": order, "sign_accuracy": right, "margin": harmful - safer})
