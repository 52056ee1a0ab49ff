"""Verifies Theorem 4.1 of Xu et al. 2024 ("Is DPO Superior to PPO for LLM Alignment?") on tabular problems, with
certificates for its two parts.

The class of PPO optima and the class of DPO minimisers both include their limits, because one-way preferences (as in
Table 1) have no finite optimum. `bradley_terry.certify` gives lower <= inf L <= lower + gap. The two parts are:

(a) Every PPO optimum has the minimal DPO loss. The optimum of a reward r has L_DPO = L_R(r). The loss does not change if any
    constant is added to r in each group of linked responses, or if uncovered responses get any other reward.
    `bradley_terry.approach` makes rewards in which the gap of every one-way pair is at least g. Their loss is at most
    inf L + limit log(1 + exp(-g)), up to the error of the minimiser. `limit` is the share of one-way pairs.
(b) A DPO minimiser outside the PPO class exists exactly if some uncovered response has pi_ref = 0. Moving mass onto an
    uncovered response does not change the DPO loss. If that response has pi_ref = 0, no reward has the new policy as
    its optimum, because every optimum is 0 at that response. If the response has pi_ref > 0, the reward
    beta log(pi/pi_ref) has the minimal reward loss, and its optimum is the new policy.
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
"""The gaps g for which `approach` makes rewards. At the last gap, the loss of a one-way pair is at most
log(1 + exp(-40)) = 4e-18."""
LOSS_ROUNDING = 1e-10
"""The rounding error allowed in a loss. Log-ratios reach 1e4 in these problems, and 1e4 times 2e-16 (double precision)
is 2e-12."""
CERTIFIED = 1e-9  # a problem is solved if the interval around inf L is at most this wide
SAME = 1e-9  # probabilities that differ by at most this number are treated as equal


class MovedMass(NamedTuple):
    """The properties of the new policies that `move_everywhere` makes. Each tensor is [T,P,K]. Entry (t,p,k) belongs to
    the policy in which mass was moved onto response k of prompt p.

    Mass is moved only onto uncovered responses. At covered responses, the flags are False and `kl` is nan.
    """

    minimal: Tensor  # the policy has the minimal DPO loss
    outside: Tensor  # the policy has mass where pi_ref = 0, so no reward has the policy as its optimum
    inside: Tensor  # beta log(pi/pi_ref) has the minimal reward loss, and the policy is the optimum of this reward
    kl: Tensor  # KL(pi || pi_ref) in prompt p, where pi is the policy


class TheoremCertificates(NamedTuple):
    """The computed certificates of T problems."""

    reference: Tensor  # [T,P,K]: pi_ref
    covered: Tensor  # Bool [T,P,K]: True if the response is in a pair
    parted: Tensor  # Bool [T]: True if in at least one prompt the pairs do not link all compared responses
    infimum: Infimum
    excess: Tensor  # [T, len(REWARD_GAPS)]: L_DPO of the PPO optimum minus the certified lower bound
    slack: Tensor  # [T, len(REWARD_GAPS)]: `excess` - `allowed`; a value above LOSS_ROUNDING contradicts the theorem
    returned: Tensor  # Bool [T]: True if the policy from `make_minimiser` is a DPO minimiser and a PPO optimum
    moved: MovedMass

    @property
    def predicted(self) -> Tensor:
        """Bool [T,P,K]: True if pi_ref = 0. For these responses, the theorem predicts a minimiser outside the PPO
        class.

        No response with pi_ref = 0 is compared, because the DPO loss would be undefined. All of these responses are
        therefore uncovered.
        """
        return self.reference == 0

    @property
    def cases(self) -> Tensor:
        """Long [T,3]: three properties of each problem, each given as a number.

        First: 0 if pi_ref > 0 everywhere, otherwise 1. Second: 0 if the compared responses of every prompt are linked,
        otherwise 1. Third: 0 if every group of linked responses is strongly connected (the minimum is attained), 2 if
        the graph has no cycle, and 1 in all other situations.
        """
        limit = self.infimum.limit
        separable = (limit > 0).long() + (limit == 1).long()
        return torch.stack([self.predicted.any(-1).any(-1).long(), self.parted.long(), separable], -1)

    @property
    def allowed(self) -> Tensor:
        """[T, len(REWARD_GAPS)]: the excess that the theorem allows."""
        return self.excess - self.slack

    @property
    def solved(self) -> Tensor:
        """Bool [T]: True if the interval around inf L is at most `CERTIFIED` wide."""
        return self.infimum.gap <= CERTIFIED

    @property
    def attained(self) -> Tensor:
        """Bool [T]: True if part (a) holds and no loss is below the certified lower bound."""
        return (self.slack <= LOSS_ROUNDING).all(-1) & (self.excess >= -LOSS_ROUNDING).all(-1)

    @property
    def exact(self) -> Tensor:
        """Bool [T]: True if part (b) holds.

        Moving mass onto an uncovered response must give a DPO minimiser. The minimiser must be outside the PPO class if
        `predicted` is True for the response, and inside the PPO class if `predicted` is False.
        """
        uncovered, moved = ~self.covered, self.moved
        expected_inside = uncovered & ~self.predicted
        right = (moved.minimal == uncovered) & (moved.outside == self.predicted) & (moved.inside == expected_inside)
        return right.all(-1).all(-1) & self.returned

    @property
    def holds(self) -> Tensor:
        return self.solved & self.attained & self.exact


def verify_theorem(problems: Problems) -> TheoremCertificates:
    """Checks both parts of the theorem on T problems."""
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
    """Returns the largest amount by which a loss can exceed the lower bound according to the theorem, [T].

    This is the width of the interval around inf L, plus `infimum.limit` * log(1 + exp(-gap)).
    """
    return infimum.gap + infimum.limit * torch.nn.functional.softplus(torch.tensor(-gap, dtype=torch.float64))


def make_minimiser(rewards: Tensor, problems: Problems, graph: Graph) -> Tensor:
    """Makes a DPO minimiser in which the mass of each group of linked responses is chosen separately.

    Within a group, pi is proportional to pi_ref exp(r/beta). The DPO loss depends only on these proportions. The masses
    of the groups are softmax(free). The DPO loss does not depend on these masses. An uncovered response forms a group
    alone, and has mass if its pi_ref is above 0.

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
    """Returns Bool [T]: True if L_DPO counts as minimal. The distance between L_DPO and the certified lower bound must
    be at most E + `LOSS_ROUNDING`. E is the `allowed_excess` at the largest of `REWARD_GAPS`.

    Args: policy [T,P,K].
    """
    return _is_lowest(dpo_objective(policy, problems.reference.log(), problems.wins, problems.beta), infimum)


def _is_lowest(loss: Tensor, infimum: Infimum) -> Tensor:
    return (loss - infimum.lower).abs() <= allowed_excess(infimum, REWARD_GAPS[-1]) + LOSS_ROUNDING


def is_ppo_optimum(policy: Tensor, problems: Problems, infimum: Infimum) -> Tensor:
    """Returns Bool [T,P]: True if, for this prompt, pi is the optimum of a reward with the minimal reward loss.

    Tests the reward f(pi) = beta log(pi/pi_ref). This reward must be finite for this prompt, must have the minimal
    reward loss, and must have pi as its optimum.
    """
    reference = problems.reference.log()
    rewards = implied_reward(policy, reference, problems.beta)
    finite = torch.isfinite(rewards).all(-1)
    rewards = torch.where(finite[..., None], rewards, 0.0)
    optimal = _is_lowest(reward_objective(rewards, problems.wins), infimum)
    again = optimum(rewards, reference, problems.beta)
    return finite & optimal[:, None] & ((again.exp() - policy.exp()).abs() <= SAME).all(-1)


def move_everywhere(policy: Tensor, problems: Problems, graph: Graph, infimum: Infimum) -> MovedMass:
    """Makes one new policy for each uncovered response, by moving probability mass from the other responses of the same
    prompt onto this response. Tests whether each new policy is a DPO minimiser, and whether it is in the PPO class. All
    T problems are processed at once. A new policy differs from `policy` in one prompt only.

    Args: policy: log pi [T,P,K].
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
