"""Many trials of Theorem 4.1: which cases were drawn, the certificates of each, and the first trial that failed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from preflab.errors import UserError
from preflab.theory.problems import BETA_RANGE, Problems, ProblemShape, draw_problems, problem_as_json
from preflab.theory.theorem import MovedMass, TheoremCertificates, verify_theorem

MOST = 1_000_000  # some ten minutes
SUPPORTS = ("full", "not full")
GRAPHS = ("connected", "not connected")
PREFERENCES = ("mixed", "partly separable", "separable")


class Trials(NamedTuple):
    """The results of N trials: [N] unless stated otherwise. P prompts, K responses, G gaps of the sequence."""

    support: Tensor
    """0: pi_ref > 0 everywhere; 1: not."""
    graph: Tensor
    """0: the compared responses of every prompt are linked; 1: not."""
    preferences: Tensor
    """0: every group of linked responses is strongly connected (the minimum is attained); 2: no cycle at all; 1: between."""
    holds: Tensor
    attained: Tensor
    exact: Tensor
    solved: Tensor
    width: Tensor
    """Width of the certified interval around inf L."""
    excess: Tensor
    """[N,G]: L_DPO of the PPO optimum above the certified lower bound."""
    allowed: Tensor
    """[N,G]: the excess that theory allows."""
    reference: Tensor
    """[N,P,K]: pi_ref."""
    uncovered: Tensor
    """[N,P,K]."""
    moved: MovedMass
    """[N,P,K] each: the policies with mass moved onto each uncovered response."""


class TrialsRun(NamedTuple):
    """All trials of one command, and the first that failed."""

    trials: Trials
    failed: int | None
    """The number of that trial, from 0."""
    problem: dict[str, Any] | None
    """Its problem as plain data, for `--replay`."""


def run_trials(count: int, seed: int, shape: ProblemShape) -> TrialsRun:
    """Verifies `count` random problems. Raises `UserError` for a number out of its range."""
    if not 1 <= count <= MOST:
        raise UserError(f"--trials {count}: give a whole number, 1 to {MOST:,}.")
    if not 0 <= seed < 2**63:
        raise UserError(f"--seed {seed}: give a whole number from 0 to 2^63 - 1.")
    if not 1 <= shape.prompts <= 8:
        raise UserError(f"--prompts {shape.prompts}: give 1 to 8; more prompts are more trials.")
    if not 2 <= shape.responses <= 12:
        raise UserError(f"--responses {shape.responses}: give 2 to 12.")
    if not 0 <= shape.coverage <= 1:
        raise UserError(f"--coverage {shape.coverage:g}: give a share from 0 to 1.")
    if shape.beta is not None and not (math.isfinite(shape.beta) and BETA_RANGE[0] <= shape.beta <= BETA_RANGE[1]):
        raise UserError(
            f"--beta {shape.beta:g}: give {BETA_RANGE[0]:g} to {BETA_RANGE[1]:g}; double precision ends there."
        )
    return verify_all(draw_problems(count, seed, shape))


def verify_all(chunks: Iterable[Problems]) -> TrialsRun:
    """Verifies every problem of every chunk."""
    parts: list[Trials] = []
    failed: int | None = None
    problem: dict[str, Any] | None = None
    done = 0
    for problems in chunks:
        parts.append(_trials(problems, verify_theorem(problems)))
        wrong = (~parts[-1].holds).nonzero()
        if failed is None and len(wrong):
            failed, problem = done + int(wrong[0]), problem_as_json(problems, int(wrong[0]))
        done += len(problems.beta)
    return TrialsRun(_join(parts), failed, problem)


def _join(parts: Sequence[Trials]) -> Trials:
    """One after the other, along N."""
    *columns, moved = zip(*parts, strict=True)
    joined = MovedMass(*(torch.cat(values) for values in zip(*moved, strict=True)))
    return Trials(*(torch.cat(values) for values in columns), moved=joined)


def _trials(problems: Problems, certificates: TheoremCertificates) -> Trials:
    graph = certificates.graph
    indices = torch.arange(graph.component.shape[-1])
    groups = (graph.covered & (graph.component == indices)).sum(-1).amax(-1)
    limit = certificates.infimum.limit
    return Trials(
        support=(problems.reference == 0).any(-1).any(-1).long(),
        graph=(groups > 1).long(),
        preferences=(limit > 0).long() + (limit == 1).long(),
        holds=certificates.holds,
        attained=certificates.attained,
        exact=certificates.exact,
        solved=certificates.solved,
        width=certificates.infimum.gap,
        excess=certificates.excess,
        allowed=certificates.excess - certificates.slack,
        reference=problems.reference,
        uncovered=~graph.covered,
        moved=certificates.moved,
    )
