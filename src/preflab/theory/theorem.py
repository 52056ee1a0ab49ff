"""Theorem 4.1 on tabular problems: what must be true of each problem, and the certificate that shows it.

Both classes include their limits, since a one-way preference, such as that of Table 1, has no finite optimum. With
lower <= inf L <= lower + gap from `bradley_terry.certify`:

(a) Every PPO optimum has the minimal DPO loss. The optimum of a reward r has L_DPO = L_R(r). So has the optimum of r plus any
    constant for each group of linked responses, with any reward on uncovered responses. Along the sequence with gaps g
    this loss is at most inf L + limit log(1 + exp(-g)).
(b) A DPO minimiser outside the PPO class exists exactly where an uncovered response has pi_ref = 0. Mass moved onto an
    uncovered response leaves the DPO loss as it is. Where pi_ref = 0 no reward gives that policy, for every optimum is 0 there.
    Elsewhere beta log(pi/pi_ref) gives it: this reward is optimal, and its optimum is that policy again.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from preflab.theory.bradley_terry import Graph, Infimum, approach, certify, graph_of, minimise
from preflab.theory.problems import Problems
from preflab.theory.tabular import dpo_objective, implied_reward, move_mass, optimum, reward_objective, tabular_kl

REWARD_GAPS = (1.0, 5.0, 10.0, 20.0, 40.0)
"""The reward gaps of the sequence; at the last the rest is log(1 + exp(-40)) = 4e-18."""
LOSS_ROUNDING = 1e-10
"""The rounding error that a loss may have in double precision: log-ratios reach 1e4 here, and 1e4 times 2e-16 is 2e-12."""
CERTIFIED = 1e-9  # a problem counts as solved where the interval around inf L is at most this wide
SAME = 1e-9  # two probabilities count as the same where they differ by no more


class MovedMass(NamedTuple):
    """The policies with mass moved onto each uncovered response: [T,P,K] each, False (`kl`: nan) at covered responses."""

    minimal: Tensor  # the policy has the minimal DPO loss
    outside: Tensor  # the policy has mass where pi_ref = 0: no reward gives it
    inside: Tensor  # the reward beta log(pi/pi_ref) is optimal, and its optimum is the policy
    kl: Tensor  # KL(pi || pi_ref) of the prompt's policy


class TheoremCertificates(NamedTuple):
    """What was computed for each of T problems."""

    reference: Tensor  # [T,P,K]: pi_ref
    covered: Tensor  # Bool [T,P,K]: some pair holds the response
    parted: Tensor  # Bool [T]: the compared responses of some prompt are not all linked
    infimum: Infimum
    excess: Tensor  # [T, len(REWARD_GAPS)]: L_DPO of the PPO optimum minus the certified lower bound
    slack: Tensor  # [T, len(REWARD_GAPS)]: the excess minus what theory allows; above LOSS_ROUNDING it contradicts
    returned: Tensor  # Bool [T]: a DPO minimiser with the reference's support is the optimum of an optimal reward
    moved: MovedMass

    @property
    def predicted(self) -> Tensor:
        """Bool [T,P,K]: uncovered and pi_ref = 0, since a compared response has pi_ref > 0, else the loss is undefined."""
        return self.reference == 0

    @property
    def cases(self) -> Tensor:
        """Long [T,3]. 0: pi_ref > 0 everywhere; 1: not. 0: the compared responses of every prompt are linked; 1: not. 0: every
        group of linked responses is strongly connected (the minimum is attained); 2: no cycle at all; 1: between."""
        limit = self.infimum.limit
        separable = (limit > 0).long() + (limit == 1).long()
        return torch.stack([self.predicted.any(-1).any(-1).long(), self.parted.long(), separable], -1)

    @property
    def allowed(self) -> Tensor:
        """[T, len(REWARD_GAPS)]: the excess that theory allows."""
        return self.excess - self.slack

    @property
    def solved(self) -> Tensor:
        """Bool [T]: inf L is known closely enough."""
        return self.infimum.gap <= CERTIFIED

    @property
    def attained(self) -> Tensor:
        """Bool [T]: (a), and no loss below the certified bound."""
        return (self.slack <= LOSS_ROUNDING).all(-1) & (self.excess >= -LOSS_ROUNDING).all(-1)

    @property
    def exact(self) -> Tensor:
        """Bool [T]: (b): each uncovered response gives a minimiser, outside exactly where predicted and inside elsewhere."""
        uncovered, moved = ~self.covered, self.moved
        elsewhere = uncovered & ~self.predicted
        right = (moved.minimal == uncovered) & (moved.outside == self.predicted) & (moved.inside == elsewhere)
        return right.all(-1).all(-1) & self.returned

    @property
    def holds(self) -> Tensor:
        return self.solved & self.attained & self.exact


def verify_theorem(problems: Problems) -> TheoremCertificates:
    """Computes both parts of the theorem on T problems."""
    graph = graph_of(problems.wins)
    rewards = minimise(problems.wins, graph)
    infimum = certify(rewards, problems.wins, graph)
    reference = problems.reference.log()
    constants = problems.free.gather(-1, graph.component)
    rewards_by_gap = [approach(rewards, graph, gap) for gap in REWARD_GAPS]
    policies = [optimum(each + constants, reference, problems.beta) for each in rewards_by_gap]
    losses = [dpo_objective(policy, reference, problems.wins, problems.beta) for policy in policies]
    excess = torch.stack(losses, -1) - infimum.lower[:, None]
    minimiser = make_minimiser(rewards_by_gap[-1], problems, graph)
    groups = graph.covered & (graph.component == torch.arange(graph.component.shape[-1]))
    return TheoremCertificates(
        reference=problems.reference,
        covered=graph.covered,
        parted=(groups.sum(-1) > 1).any(-1),
        infimum=infimum,
        excess=excess,
        slack=excess - torch.stack([allowed_excess(infimum, gap) for gap in REWARD_GAPS], -1),
        returned=is_minimal(minimiser, problems, infimum) & is_ppo_optimum(minimiser, problems, infimum).all(-1),
        moved=move_everywhere(minimiser, problems, graph, infimum),
    )


def allowed_excess(infimum: Infimum, gap: float) -> Tensor:
    """The most by which a loss may exceed the lower bound: the bound's own width plus limit log(1 + exp(-gap)): [T]."""
    return infimum.gap + infimum.limit * torch.nn.functional.softplus(torch.tensor(-gap, dtype=torch.float64))


def make_minimiser(rewards: Tensor, problems: Problems, graph: Graph) -> Tensor:
    """A DPO minimiser that does not come from one reward: each group of linked responses gets its shape and mass apart.

    Within a group pi is proportional to pi_ref exp(r/beta), on which the loss depends. The masses of the groups are
    softmax(free), on which it does not. An uncovered response is a group of its own, and has mass where pi_ref has.

    Args: rewards [T,P,K]. Returns: log pi [T,P,K].
    """
    linked = graph.component[..., :, None] == graph.component[..., None, :]
    scores = problems.reference.log() + rewards / problems.beta[:, None, None]
    total = torch.where(linked, scores[..., None, :], -torch.inf).logsumexp(-1)
    first = graph.component == torch.arange(scores.shape[-1])
    written = torch.isfinite(total)
    masses = torch.where(first & written, problems.free, -torch.inf).log_softmax(-1)
    return torch.where(written, scores - total + masses.gather(-1, graph.component), -torch.inf)


def is_minimal(policy: Tensor, problems: Problems, infimum: Infimum) -> Tensor:
    """Bool [T]: does L_DPO equal inf L within what is allowed at the last of REWARD_GAPS? policy [T,P,K]."""
    return _is_lowest(dpo_objective(policy, problems.reference.log(), problems.wins, problems.beta), infimum)


def _is_lowest(loss: Tensor, infimum: Infimum) -> Tensor:
    return (loss - infimum.lower).abs() <= allowed_excess(infimum, REWARD_GAPS[-1]) + LOSS_ROUNDING


def is_ppo_optimum(policy: Tensor, problems: Problems, infimum: Infimum) -> Tensor:
    """Bool [T,P]: is f(pi) = beta log(pi/pi_ref) finite, of minimal reward loss, and pi its optimum in this prompt?"""
    reference = problems.reference.log()
    rewards = implied_reward(policy, reference, problems.beta)
    finite = torch.isfinite(rewards).all(-1)
    rewards = torch.where(finite[..., None], rewards, 0.0)
    optimal = _is_lowest(reward_objective(rewards, problems.wins), infimum)
    again = optimum(rewards, reference, problems.beta)
    return finite & optimal[:, None] & ((again.exp() - policy.exp()).abs() <= SAME).all(-1)


def move_everywhere(policy: Tensor, problems: Problems, graph: Graph, infimum: Infimum) -> MovedMass:
    """Moves mass onto each uncovered response in turn, one prompt at a time, and tests to which class the policy belongs.

    All T problems move at once; the other prompts of a problem keep their policy. policy: log pi [T,P,K].
    """
    reference = problems.reference.log()
    moved = MovedMass(*(torch.zeros_like(graph.covered) for _ in range(3)), kl=torch.full_like(policy, torch.nan))
    for prompt, response in product(range(policy.shape[1]), range(policy.shape[2])):
        onto = torch.zeros_like(graph.covered)
        at = (slice(None), prompt, response)
        onto[at] = uncovered = ~graph.covered[at]
        changed = move_mass(policy, problems.share, onto)
        mass = (problems.reference[:, prompt] == 0) & (changed[:, prompt].exp() > SAME)
        moved.minimal[at] = uncovered & is_minimal(changed, problems, infimum)
        moved.outside[at] = uncovered & mass.any(-1)
        moved.inside[at] = uncovered & is_ppo_optimum(changed, problems, infimum).all(-1)
        moved.kl[at] = torch.where(uncovered, tabular_kl(changed, reference)[:, prompt], torch.nan)
    return moved
