"""Computes the infimum of the Bradley-Terry loss with a certified error bound.

The responses to a prompt are the nodes of a graph. The graph has an edge i -> j if response i was preferred to response
j at least once. Inside a strongly connected component, a finite reward attains the minimum (Ford 1957). In a pair of
responses from two components, the same response was preferred every time. The loss of such a one-way pair tends to 0 as
the reward gap of the pair grows. The gaps of all one-way pairs can grow together, because the graph of the components
has no cycle. Therefore

    inf L = sum over strongly connected components of min L(component).

Let `level` be the number of responses that can be reached from a response. The loss of the reward r + g * level tends
to inf L for g -> infinity. If the reward gap of a one-way pair is g, the loss of the pair is log(1 + exp(-g)). If there
are one-way pairs, no finite reward attains inf L.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from preflab.theory.tabular import reward_objective


class Graph(NamedTuple):
    """The comparison graphs of T x P prompts, computed from `wins`."""

    covered: Tensor  # Bool [T,P,K]: True if the response is in a pair
    part: Tensor  # Bool [T,P,K,K]: True if i and j are in the same strongly connected component
    component: Tensor  # Long [T,P,K]: the smallest index in i's weakly connected component
    level: Tensor  # [T,P,K]: the number of responses reachable from i, i included


def graph_of(wins: Tensor) -> Graph:
    """Computes the comparison graphs of wins [T,P,K,K]."""
    beats = wins > 0
    leads = _closure(beats)
    linked = _closure(beats | beats.mT)
    component, level = linked.to(torch.uint8).argmax(-1), leads.sum(-1).to(wins.dtype)
    return Graph((beats | beats.mT).any(-1), part=leads & leads.mT, component=component, level=level)


def _closure(edges: Tensor) -> Tensor:
    """Returns Bool [...,K,K]: True if a path of `edges` leads from i to j, or if i = j."""
    size = edges.shape[-1]
    paths = edges | torch.eye(size, dtype=torch.bool)
    for _ in range(max(1, math.ceil(math.log2(size)))):
        paths = (paths.float() @ paths.float()) > 0
    return paths


class Infimum(NamedTuple):
    """Bounds of inf L: inf L is at least `lower` and at most `lower` + `gap`.

    `limit` is the share of one-way pairs. The loss of a one-way pair is 0 only in the limit of an infinite reward gap.
    """

    lower: Tensor  # [T]: a number that the loss of no reward is below
    gap: Tensor  # [T]: an upper bound of inf L - lower
    limit: Tensor  # [T]: the share of one-way pairs; 0 if the minimum is attained


def minimise(wins: Tensor, graph: Graph, *, steps: int = 100) -> Tensor:
    """Returns rewards [T,P,K] that minimise the loss inside every strongly connected component. The mean reward of each
    component is 0.

    This is Newton's method with damped steps. Each full step is multiplied by log(1 + d)/d, where d is the spread
    (maximum minus minimum) of the full step. The logistic loss is self-concordant in the generalised sense. Therefore
    the damped step decreases the loss from any start, and approaches the full step near the minimum (Bach 2010; Sun and
    Tran-Dinh 2019). The method takes at most `steps` steps. `certify` bounds the distance to the minimum.

    Args: wins [T,P,K,K]; graph: the graph of `wins`.
    """
    inside = wins * graph.part
    part = graph.part.to(wins.dtype)
    # Adding a constant to all rewards of a component does not change the loss. The anchor makes the loss strictly
    # convex.
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
    """Computes a certified lower bound of inf L. The bound is valid for any rewards. It is tighter for better rewards.

    L is convex. Let r* be the minimiser. Then, inside the components,

        L(r*) >= L(r) + grad L(r) (r* - r)
              >= L(r) - 1/2 ||grad L(r)||_1 (spread(r*) + spread(r)).

    In a pair of weight w in which i was preferred to j,

        w (r*_j - r*_i) <= w softplus(r*_j - r*_i) <= L(r*) <= L(r).

    A path of at most K - 1 such pairs leads from any response of a component to any other response of the component.
    Therefore spread(r*) <= (K - 1) L(r) / min w.

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
    """Returns the reward r + (gap + spread(r)) * level, where r is `rewards`. In this reward, the gap of every one-way
    pair is at least `gap`.

    The responses of a component all have the same level, so the loss inside the components does not change. The loss of
    each one-way pair is at most log(1 + exp(-gap)). The total loss is therefore at most the loss of `rewards` inside
    the components, plus `limit` * log(1 + exp(-gap)).

    Args: rewards [T,P,K]; graph: the graph of the `wins` for which `rewards` were computed. Returns: [T,P,K].
    """
    return rewards + (gap + _spread(rewards)) * graph.level


def _gradient(rewards: Tensor, wins: Tensor) -> Tensor:
    """Returns the gradient of the summed loss with respect to the rewards, [T,P,K].

    Component i of the gradient is -sum_j wins_ij sigma(r_j - r_i) + sum_j wins_ji sigma(r_i - r_j).
    """
    pull = wins * torch.sigmoid(rewards[..., None, :] - rewards[..., :, None])
    return pull.sum(-2) - pull.sum(-1)


def _spread(values: Tensor) -> Tensor:
    return values.amax(-1, keepdim=True) - values.amin(-1, keepdim=True)
