"""The infimum of the Bradley-Terry loss, with a certificate. The infimum may be attained or only approached.

Responses are the nodes of a graph, with an edge i -> j if i was ever preferred to j. Inside a strongly connected part a
finite reward attains the minimum (Ford 1957). In a pair between two parts, the same response was preferred every time. The
loss of such a one-way pair tends to 0 as its reward gap grows. All these gaps can grow together, since the graph orders the
parts. So

    inf L = sum over strongly connected parts of min L(part).

The reward r + g level approaches the infimum for g -> infinity. Here `level` is the number of responses to which a response
leads. If the winner of a one-way pair leads by g, the loss of the pair is log(1 + exp(-g)). Only one-way pairs keep the loss
above inf L.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from preflab.theory.tabular import reward_objective


class Graph(NamedTuple):
    """The graphs of comparisons of T x P prompts, made from `wins`."""

    covered: Tensor  # Bool [T,P,K]: True if some pair holds the response
    part: Tensor  # Bool [T,P,K,K]: True if i and j lead to each other (they are strongly connected, or equal)
    component: Tensor  # Long [T,P,K]: the smallest index of a response that comparisons link to i, in either direction
    level: Tensor  # [T,P,K]: to how many responses i leads; larger for the winner of a one-way pair


def graph_of(wins: Tensor) -> Graph:
    """Makes the graph of wins [T,P,K,K]."""
    beats = wins > 0
    leads = _closure(beats)
    linked = _closure(beats | beats.mT)
    component, level = linked.to(torch.uint8).argmax(-1), leads.sum(-1).to(wins.dtype)
    return Graph((beats | beats.mT).any(-1), part=leads & leads.mT, component=component, level=level)


def _closure(edges: Tensor) -> Tensor:
    """Bool [...,K,K]: True if a path leads from i to j, or if i = j."""
    size = edges.shape[-1]
    paths = edges | torch.eye(size, dtype=torch.bool)
    for _ in range(max(1, math.ceil(math.log2(size)))):
        paths = (paths.float() @ paths.float()) > 0
    return paths


class Infimum(NamedTuple):
    """inf L lies in [lower, lower + gap].

    `limit` is the share of the pairs that are one-way. The loss of these pairs vanishes only in the limit.
    """

    lower: Tensor  # [T]: no reward has a smaller loss
    gap: Tensor  # [T]: bounds (the loss of `rewards` without the one-way pairs) - inf L from above
    limit: Tensor  # [T]: the share of pairs between parts; 0 if the minimum is attained


def minimise(wins: Tensor, graph: Graph, *, steps: int = 100) -> Tensor:
    """Returns rewards [T,P,K] that minimise the loss inside every strongly connected part, and have mean 0 in each part.

    This is Newton's method. It multiplies the full step by log(1 + d)/d, where d is the spread of the full step. The
    logistic loss is self-concordant in the generalised sense. Therefore the shortened step decreases the loss from any
    start, and becomes the full step at the end (Bach 2010; Sun and Tran-Dinh 2019). The method stops after `steps` steps at
    the latest; `certify` says how close the rewards are to the minimum.

    Args: wins [T,P,K,K]; graph: the graph of `wins`.
    """
    inside = wins * graph.part
    part = graph.part.to(wins.dtype)
    # Adding a constant to a whole part does not change the loss. The anchor makes the loss strictly convex.
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
    """Computes a certified lower bound of inf L. The bound is valid for any rewards, and tighter for better rewards.

    L is convex, so L(r*) >= L(r) + grad L(r) (r* - r) >= L(r) - 1/2 ||grad L(r)||_1 (spread(r*) + spread(r)) inside the
    parts. In a pair of weight w, in which i was preferred to j, w (r*_j - r*_i) <= w softplus(r*_j - r*_i) <= L(r*) <= L(r).
    A path of at most K - 1 such pairs leads from any response of a part to any other response of the part. Therefore
    spread(r*) <= (K - 1) L(r) / min w.

    Args: rewards [T,P,K]; wins [T,P,K,K]; graph: the graph of `wins`. Returns: an `Infimum` of tensors [T].
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
    """Returns r + (gap + spread(r)) level. In this reward the winner of every one-way pair leads by at least `gap`.

    Each part moves as a whole. So the loss of the new reward is at most the loss of `rewards` inside the parts, plus `limit`
    log(1 + exp(-gap)).

    Args: rewards [T,P,K]; graph: the graph of the `wins` for which `rewards` were computed. Returns: [T,P,K].
    """
    return rewards + (gap + _spread(rewards)) * graph.level


def _gradient(rewards: Tensor, wins: Tensor) -> Tensor:
    """The gradient of the summed loss: -sum_j wins_ij sigma(r_j - r_i) + sum_j wins_ji sigma(r_i - r_j), [T,P,K]."""
    pull = wins * torch.sigmoid(rewards[..., None, :] - rewards[..., :, None])
    return pull.sum(-2) - pull.sum(-1)


def _spread(values: Tensor) -> Tensor:
    return values.amax(-1, keepdim=True) - values.amin(-1, keepdim=True)
