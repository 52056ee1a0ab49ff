"""The infimum of the Bradley-Terry loss with a certificate, whether it is attained or only approached.

Responses are the nodes of a graph, with an edge i -> j where i was ever preferred to j. Inside a strongly connected part a
finite reward attains the minimum (Ford 1957). A pair between two parts was only ever preferred one way: its loss tends to 0
as the gap grows, and all such gaps can grow together, since the graph orders the parts. So

    inf L = sum over strongly connected parts of min L(part).

r + g level approaches it for g -> infinity, `level` being the number of responses that a response leads to. At gap g the loss
of a one-way pair, which is what is left above inf L, is below log(1 + exp(-g)).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from preflab.theory.tabular import reward_objective


class Graph(NamedTuple):
    """The comparisons of T x P prompts, from `wins`."""

    covered: Tensor  # Bool [T,P,K]: some pair holds the response
    part: Tensor  # Bool [T,P,K,K]: i and j lead to each other (they are strongly connected, or equal)
    component: Tensor  # Long [T,P,K]: the smallest index of the responses that comparisons link to i, either way
    level: Tensor  # [T,P,K]: how many responses i leads to; larger in the winner of a one-way pair


def graph_of(wins: Tensor) -> Graph:
    """The graph behind wins [T,P,K,K]."""
    beats = wins > 0
    leads = _closure(beats)
    linked = _closure(beats | beats.mT)
    component, level = linked.to(torch.uint8).argmax(-1), leads.sum(-1).to(wins.dtype)
    return Graph((beats | beats.mT).any(-1), part=leads & leads.mT, component=component, level=level)


def _closure(edges: Tensor) -> Tensor:
    """Bool [...,K,K]: is there a path from i to j (or i = j)?"""
    size = edges.shape[-1]
    paths = edges | torch.eye(size, dtype=torch.bool)
    for _ in range(max(1, math.ceil(math.log2(size)))):
        paths = (paths.float() @ paths.float()) > 0
    return paths


class Infimum(NamedTuple):
    """inf L lies in [lower, lower + gap]. The share `limit` of the pairs is one-way; their loss vanishes only in the limit."""

    lower: Tensor  # [T]: no reward has a smaller loss
    gap: Tensor  # [T]: the most by which the loss of `rewards`, without the one-way pairs, can exceed inf L
    limit: Tensor  # [T]: the share of pairs between parts; 0 where the minimum is attained


def minimise(wins: Tensor, graph: Graph, *, steps: int = 100) -> Tensor:
    """Rewards [T,P,K] that minimise the loss inside every strongly connected part, with mean 0 there.

    Newton's method with step log(1 + d)/d, d the spread of the full step: the logistic loss is self-concordant in the
    generalised sense, so that this step decreases it from anywhere and becomes the full step at the end (Bach 2010; Sun
    and Tran-Dinh 2019). It stops after `steps` steps at the latest; `certify` says how close it came.

    Args: wins [T,P,K,K]; the graph of wins.
    """
    inside = wins * graph.part
    part = graph.part.to(wins.dtype)
    # The loss is flat along a part's constant; this makes it strictly convex.
    anchor = part / part.sum(-1, keepdim=True)
    rewards = torch.zeros_like(graph.level)
    for _ in range(steps):
        gradient = _gradient(rewards, inside)
        if bool((gradient.abs().sum(-1) <= 1e-14 * inside.sum((-1, -2))).all()):
            break
        gaps = rewards[..., :, None] - rewards[..., None, :]
        curvature = inside * torch.sigmoid(gaps) * torch.sigmoid(-gaps)
        curvature = curvature + curvature.mT
        hessian = torch.diag_embed(curvature.sum(-1)) - curvature + anchor
        step = -torch.linalg.solve(hessian, gradient)
        spread = _spread(step)
        rewards = rewards + step * torch.where(spread > 0, torch.log1p(spread) / spread, 1.0)
    return rewards - (anchor @ rewards[..., None])[..., 0]


def certify(rewards: Tensor, wins: Tensor, graph: Graph) -> Infimum:
    """A certified lower bound of inf L. It is valid for any rewards, and tighter for better ones.

    L is convex, so L(r*) >= L(r) + grad L(r) (r* - r) >= L(r) - 1/2 ||grad L(r)||_1 (spread(r*) + spread(r)) inside the
    parts. Each pair i > j of weight w has w (r*_j - r*_i) <= w softplus(r*_j - r*_i) <= L(r*) <= L(r), and a path of at
    most K - 1 such pairs leads from any response of a part to any other: spread(r*) <= (K - 1) L(r) / min w.

    Args: rewards [T,P,K]; wins [T,P,K,K]; the graph of wins. Returns: an `Infimum` of [T] each.
    """
    total = wins.sum((1, 2, 3))
    inside = wins * graph.part
    share = inside.sum((1, 2, 3)) / total
    loss = torch.where(share > 0, reward_objective(rewards, inside) * share, 0.0)
    smallest = torch.where(inside > 0, inside, torch.inf).amin((1, 2, 3)) / total
    farthest = (wins.shape[-1] - 1) * loss / smallest
    within = torch.where(graph.part, (rewards[..., :, None] - rewards[..., None, :]).abs(), 0.0).amax((1, 2, 3))
    slope = _gradient(rewards, inside).abs().sum((1, 2)) / total
    gap = slope * (farthest + within) / 2
    return Infimum(lower=loss - gap, gap=gap, limit=1.0 - share)


def approach(rewards: Tensor, graph: Graph, gap: float) -> Tensor:
    """r + (gap + spread(r)) level: the winner of every one-way pair leads by at least `gap`; each part moves as a whole.

    Its loss is at most the loss of `rewards` inside the parts plus `limit` log(1 + exp(-gap)).

    Args: rewards [T,P,K]; the graph of the same wins. Returns: [T,P,K].
    """
    return rewards + (gap + _spread(rewards)) * graph.level


def _gradient(rewards: Tensor, wins: Tensor) -> Tensor:
    """The gradient of the summed loss: -sum_j wins_ij sigma(r_j - r_i) + sum_j wins_ji sigma(r_i - r_j), [T,P,K]."""
    pull = wins * torch.sigmoid(rewards[..., None, :] - rewards[..., :, None])
    return pull.sum(-2) - pull.sum(-1)


def _spread(values: Tensor) -> Tensor:
    return values.amax(-1, keepdim=True) - values.amin(-1, keepdim=True)
