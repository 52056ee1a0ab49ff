"""What preflab computes from the inputs that a TRL trainer saw, beside what the trainer computed.

A comparison takes a recorded case and gives pairs (preflab's numbers, TRL's numbers) by name. Where the two define a
loss differently it says so in `differs`, and converts in plain sight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from preflab import ops
from preflab.losses import kto, policy, preference, reward
from preflab.losses.preference import PairLogprobs

Case = Mapping[str, Any]
OutputPairs = dict[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Comparison:
    """`cases`: names of recorded cases; `ours`: the functions of preflab that `of` calls; `differs`: what a reader who
    moves from TRL must know."""

    method: str
    cases: tuple[str, ...]
    ours: str
    of: Callable[[Case], OutputPairs]
    differs: str = ""


def opened(case: Case) -> tuple[dict[str, Tensor], dict[str, Tensor], Mapping[str, Any]]:
    """Inputs and outputs as float32 (booleans as booleans, counts as integers), and the settings."""
    given, theirs = (
        {name: torch.tensor(values) for name, values in case[part].items()} for part in ("inputs", "outputs")
    )
    return given, theirs, case["settings"]


def slopes_of(terms: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    """The gradient of the terms' sum; 0 for what they do not look at."""
    return torch.autograd.grad(terms.sum(), leaves, materialize_grads=True)


def pairs_of(case: Case) -> PairLogprobs:
    """The recorded pairs; without a reference a reference of 0, which leaves the policy's own log-probabilities."""
    given, _, _ = opened(case)
    zero = torch.zeros_like(given["chosen"])
    return PairLogprobs(
        given["chosen"].requires_grad_(),
        given["rejected"].requires_grad_(),
        given.get("reference_chosen", zero),
        given.get("reference_rejected", zero),
        given["chosen_lengths"],
        given["rejected_lengths"],
    )


def beside(case: Case, terms: Tensor, chosen: Tensor, rejected: Tensor) -> OutputPairs:
    """The terms and their slopes beside TRL's."""
    _, theirs, _ = opened(case)
    slopes = slopes_of(terms, chosen, rejected)
    return {
        "loss": (terms, theirs["loss"]),
        "chosen_slope": (slopes[0], theirs["chosen_slope"]),
        "rejected_slope": (slopes[1], theirs["rejected_slope"]),
    }


def pair(loss: Callable[..., Tensor], **names: str) -> Callable[[Case], OutputPairs]:
    """A loss of `losses.preference` as it stands; `names`: which of TRL's settings each of its own is."""

    def of(case: Case) -> OutputPairs:
        pairs = pairs_of(case)
        terms = loss(pairs, **{ours: case["settings"][theirs] for ours, theirs in names.items()})
        return beside(case, terms, pairs.chosen, pairs.rejected)

    return of


def ipo_of_means(case: Case) -> OutputPairs:
    """TRL's DPOTrainer takes the mean a token: the same function, of each answer's mean."""
    pairs = pairs_of(case)
    means = PairLogprobs(
        pairs.chosen_ratio / pairs.chosen_lengths,
        pairs.rejected_ratio / pairs.rejected_lengths,
        torch.zeros_like(pairs.chosen),
        torch.zeros_like(pairs.rejected),
        pairs.chosen_lengths,
        pairs.rejected_lengths,
    )
    terms = preference.ipo_loss(means, beta=case["settings"]["beta"])
    return beside(case, terms, pairs.chosen, pairs.rejected)


def likelihood(pairs: PairLogprobs) -> Tensor:
    """The SFT term of a pair: the mean over the chosen answer's tokens."""
    return policy.sft_loss(pairs.chosen) / pairs.chosen_lengths


def sft_term(case: Case) -> OutputPairs:
    pairs = pairs_of(case)
    return beside(case, likelihood(pairs), pairs.chosen, pairs.rejected)


def sigmoid_and_sft(case: Case) -> OutputPairs:
    pairs, settings = pairs_of(case), case["settings"]
    dpo, sft = settings["loss_weights"]
    terms = dpo * preference.dpo_loss(pairs, beta=settings["beta"]) + sft * likelihood(pairs)
    return beside(case, terms, pairs.chosen, pairs.rejected)


def logits(loss: Tensor) -> Tensor:
    """z of -log sigmoid(z)."""
    return -torch.log(torch.expm1(loss.double()))


def chi_po(case: Case) -> OutputPairs:
    """TRL has no chi-squared PO, but both halves of its link phi(rho) = rho + log rho: the divergence alpha = 2 (rho - 1)
    and reverse KL (log rho). What preflab's logit has beyond the second half is compared with the first."""
    pairs, settings = pairs_of(case), case["settings"]
    _, theirs, _ = opened(case)
    whole = logits(preference.chi_po_loss(pairs, beta=settings["beta"]))
    log_half = logits(preference.dpo_loss(pairs, beta=settings["beta"]))
    return {"loss": (-F.logsigmoid(whole - log_half).float(), theirs["loss"])}


def cpo(case: Case) -> OutputPairs:
    """The slopes are those of the preference term: TRL's likelihood term reaches the weights by another way."""
    pairs, settings = pairs_of(case), case["settings"]
    _, theirs, _ = opened(case)
    part = preference.cpo_loss(pairs, beta=settings["beta"], nll=0.0)
    whole = preference.cpo_loss(pairs, beta=settings["beta"], nll=settings["cpo_alpha"])
    return beside(case, part, pairs.chosen, pairs.rejected) | {"loss": (whole, theirs["loss"])}


def orpo(case: Case) -> OutputPairs:
    """The preference term: both losses less their likelihood terms, which are of different tokens."""
    pairs, settings = pairs_of(case), case["settings"]
    _, theirs, _ = opened(case)
    part = preference.orpo_loss(pairs, lam=settings["beta"]) - preference.orpo_loss(pairs, lam=0.0)
    compared = beside(case, part, pairs.chosen, pairs.rejected)
    return compared | {"loss": (part, theirs["loss"] - theirs["likelihood"])}


def online(loss: Callable[..., Tensor]) -> Callable[[Case], OutputPairs]:
    """Each row's two answers, the better one first; a tie keeps the order in which they were drawn, as in TRL."""

    def of(case: Case) -> OutputPairs:
        given, theirs, settings = opened(case)
        first = given["rewards"][:, 0] >= given["rewards"][:, 1]
        order = torch.stack([(~first).long(), first.long()], dim=1)
        by_rank = {name: values.gather(1, order) for name, values in (given | theirs).items() if values.dim() == 2}
        chosen, rejected = by_rank["logprobs"].clone().requires_grad_().unbind(1)
        pairs = PairLogprobs(chosen, rejected, *by_rank["reference"].unbind(1), *by_rank["lengths"].unbind(1))
        terms = loss(pairs, beta=settings["beta"])
        slopes = torch.stack(slopes_of(terms, chosen, rejected), dim=1)
        return {"loss": (terms, theirs["loss"]), "slopes": (slopes, by_rank["slopes"])}

    return of


def sft(case: Case) -> OutputPairs:
    given, theirs, _ = opened(case)
    logprobs, mask = given["logprobs"].requires_grad_(), given["mask"]
    loss = ops.reduce(policy.sft_loss(logprobs), mask, float(mask.sum()))
    return {"loss": (loss, theirs["loss"]), "slopes": (slopes_of(loss, logprobs)[0], theirs["slopes"])}


def kahneman_tversky(case: Case) -> OutputPairs:
    given, theirs, settings = opened(case)
    logprobs = given["logprobs"].requires_grad_()
    point = kto.kto_reference_point(given["mismatched"] - given["mismatched_reference"])
    weights = {name: settings[name] for name in ("desirable_weight", "undesirable_weight")}
    ratios = logprobs - given["reference"]
    terms = kto.kto_loss(ratios, given["desirable"], point, beta=settings["beta"], **weights)
    loss = ops.reduce(terms, None, len(terms))
    return {
        "kl": (point, theirs["kl"]),
        "loss": (loss, theirs["loss"]),
        "slopes": (slopes_of(loss, logprobs)[0], theirs["slopes"]),
    }


def bradley_terry(case: Case) -> OutputPairs:
    given, _, _ = opened(case)
    chosen, rejected = given["chosen"].requires_grad_(), given["rejected"].requires_grad_()
    shift = -given["margin"] if "margin" in given else None
    return beside(case, reward.bradley_terry_loss(chosen, rejected, shift=shift), chosen, rejected)
