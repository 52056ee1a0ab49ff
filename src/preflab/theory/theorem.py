"""Theorem 4.1 on tabular problems: what must be true of each, and the certificate that says so.

Both classes are taken with their limits, since a one-way preference has no finite optimum (Table 1's own data). With
lower <= inf L <= lower + gap from `bradley_terry.certify`:

(a) Every PPO optimum has the minimal DPO loss. The optimum of r, of r plus any constant for each group of linked responses,
    and with any reward on uncovered responses, has L_DPO = L_R(r); along the sequence with gaps g it is at most
    inf L + limit log(1 + exp(-g)).
(b) A DPO minimiser outside the PPO class exists exactly where an uncovered response has pi_ref = 0. Mass moved onto an
    uncovered response leaves the DPO loss as it is. Where pi_ref = 0 no reward gives that policy, for every optimum is 0 there;
    elsewhere beta log(pi/pi_ref) is such a reward, an optimal one, and its optimum is that policy again.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from preflab.theory.bradley_terry import Graph, Infimum, approach, certify, graph_of, minimise
from preflab.theory.problems import Problems
from preflab.theory.tabular import dpo_objective, implied_reward, kl_from, move_mass, optimum, reward_objective

REWARD_GAPS = (1.0, 5.0, 10.0, 20.0, 40.0)
"""The reward gaps of the sequence; at the last the rest is log(1 + exp(-40)) = 4e-18."""
LOSS_ROUNDING = 1e-10
"""What double precision may do to a loss: log-ratios reach 1e4 here, and 1e4 times 2e-16 is 2e-12."""
CERTIFIED = 1e-9
"""The width of the interval around inf L beyond which a problem counts as not solved."""
SAME = 1e-9
"""Two probabilities that differ by less are the same."""


class MovedMass(NamedTuple):
    """What became of mass moved onto each uncovered response; [T,P,K] each, False where there is nothing to move onto."""

    minimal: Tensor
    """The policy has the minimal DPO loss."""
    outside: Tensor
    """It has mass where pi_ref = 0: no reward gives it."""
    inside: Tensor
    """The reward beta log(pi/pi_ref) is optimal, and its optimum is the policy."""
    divergence: Tensor
    """KL(pi || pi_ref) of the prompt's policy; nan where nothing was tried."""


class TheoremCertificates(NamedTuple):
    """What was found for each of T problems."""

    graph: Graph
    infimum: Infimum
    excess: Tensor
    """[T, len(REWARD_GAPS)]: L_DPO of the PPO optimum minus the certified lower bound."""
    slack: Tensor
    """[T, len(REWARD_GAPS)]: the excess minus what theory allows; above LOSS_ROUNDING the theorem is contradicted."""
    returned: Tensor
    """Bool [T]: a DPO minimiser with the reference's support is the optimum of an optimal reward."""
    tried: MovedMass
    predicted: Tensor
    """Bool [T,P,K]: uncovered and pi_ref = 0."""

    @property
    def solved(self) -> Tensor:
        return self.infimum.gap <= CERTIFIED

    @property
    def attained(self) -> Tensor:
        """(a), and no loss below the certified bound."""
        return (self.slack <= LOSS_ROUNDING).all(-1) & (self.excess >= -LOSS_ROUNDING).all(-1)

    @property
    def exact(self) -> Tensor:
        """(b): each uncovered response gives a minimiser, outside exactly where predicted and inside elsewhere."""
        uncovered = ~self.graph.covered
        tried = self.tried
        elsewhere = uncovered & ~self.predicted
        right = (tried.minimal == uncovered) & (tried.outside == self.predicted) & (tried.inside == elsewhere)
        return right.all(-1).all(-1) & self.returned

    @property
    def holds(self) -> Tensor:
        return self.solved & self.attained & self.exact


def verify_theorem(problems: Problems) -> TheoremCertificates:
    """Both parts of the theorem on T problems."""
    graph = graph_of(problems.wins)
    rewards = minimise(problems.wins, graph)
    infimum = certify(rewards, problems.wins, graph)
    reference = problems.reference.log()
    constants = problems.free.gather(-1, graph.component)
    excess: list[Tensor] = []
    slack: list[Tensor] = []
    for gap in REWARD_GAPS:
        policy = optimum(approach(rewards, graph, gap) + constants, reference, problems.beta)
        excess.append(dpo_objective(policy, reference, problems.wins, problems.beta) - infimum.lower)
        slack.append(excess[-1] - allowed(infimum, gap))
    minimiser = any_minimiser(approach(rewards, graph, REWARD_GAPS[-1]), problems, graph)
    return TheoremCertificates(
        graph=graph,
        infimum=infimum,
        excess=torch.stack(excess, -1),
        slack=torch.stack(slack, -1),
        returned=is_minimal(minimiser, problems, infimum) & is_ppo_optimum(minimiser, problems, infimum).all(-1),
        tried=move_everywhere(minimiser, problems, graph, infimum),
        predicted=problems.reference == 0,  # a compared response has pi_ref > 0, else the loss is undefined
    )


def allowed(infimum: Infimum, gap: float) -> Tensor:
    """What a loss may be above the lower bound: the bound's own width, and limit log(1 + exp(-gap)). Returns: [T]."""
    return infimum.gap + infimum.limit * torch.nn.functional.softplus(torch.tensor(-gap, dtype=torch.float64))


def any_minimiser(rewards: Tensor, problems: Problems, graph: Graph) -> Tensor:
    """A DPO minimiser made without a reward for the whole: shape and mass of each group of linked responses by themselves.

    Within a group pi is proportional to pi_ref exp(r/beta), which the loss sees; the groups' masses are softmax(free),
    which it does not. Uncovered responses are groups of their own, and have mass where pi_ref has. Returns: [T,P,K].
    """
    linked = graph.component[..., :, None] == graph.component[..., None, :]
    scores = problems.reference.log() + rewards / problems.beta[:, None, None]
    total = torch.where(linked, scores[..., None, :], -torch.inf).logsumexp(-1)
    first = graph.component == torch.arange(scores.shape[-1])
    written = torch.isfinite(total)
    masses = torch.where(first & written, problems.free, -torch.inf).log_softmax(-1)
    return torch.where(written, scores - total + masses.gather(-1, graph.component), -torch.inf)


def is_minimal(policy: Tensor, problems: Problems, infimum: Infimum) -> Tensor:
    """Bool [T]: does L_DPO lie where inf L does (at the last of REWARD_GAPS)?"""
    loss = dpo_objective(policy, problems.reference.log(), problems.wins, problems.beta)
    return (loss - infimum.lower).abs() <= allowed(infimum, REWARD_GAPS[-1]) + LOSS_ROUNDING


def is_ppo_optimum(policy: Tensor, problems: Problems, infimum: Infimum) -> Tensor:
    """Bool [T,P]: is f(pi) = beta log(pi/pi_ref) finite, of minimal reward loss, and pi its optimum in this prompt?"""
    reference = problems.reference.log()
    rewards = implied_reward(policy, reference, problems.beta)
    finite = torch.isfinite(rewards).all(-1)
    rewards = torch.where(finite[..., None], rewards, 0.0)
    loss = reward_objective(rewards, problems.wins)
    optimal = (loss - infimum.lower).abs() <= allowed(infimum, REWARD_GAPS[-1]) + LOSS_ROUNDING
    again = optimum(rewards, reference, problems.beta)
    return finite & optimal[:, None] & ((again.exp() - policy.exp()).abs() <= SAME).all(-1)


def move_everywhere(policy: Tensor, problems: Problems, graph: Graph, infimum: Infimum) -> MovedMass:
    """Moves mass onto each uncovered response in turn, one a prompt at a time, and asks where that policy belongs.

    All prompts move at once, but each is judged beside the unmoved policies of the others.
    """
    reference = problems.reference.log()
    minimal, outside, inside = (torch.zeros_like(graph.covered) for _ in range(3))
    found = MovedMass(minimal, outside, inside, divergence=torch.full_like(policy, torch.nan))
    for prompt in range(policy.shape[1]):
        for response in range(policy.shape[2]):
            onto = torch.zeros_like(graph.covered)
            onto[:, prompt, response] = ~graph.covered[:, prompt, response]
            tried = onto[:, prompt, response]
            there = move_mass(policy, problems.share, onto)
            mass = (problems.reference[:, prompt] == 0) & (there[:, prompt].exp() > SAME)
            at = (slice(None), prompt, response)
            found.minimal[at] = tried & is_minimal(there, problems, infimum)
            found.outside[at] = tried & mass.any(-1)
            found.inside[at] = tried & is_ppo_optimum(there, problems, infimum).all(-1)
            found.divergence[at] = torch.where(tried, kl_from(there, reference)[:, prompt], torch.nan)
    return found
