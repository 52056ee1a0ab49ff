"""Runs one setting of the scenario. For each seed, all methods use the same pairs and the same pi_ref."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from preflab.theory.synthetic import objectives
from preflab.theory.synthetic.networks import Networks, Objective, fit_all, make_policies, make_rewards
from preflab.theory.synthetic.objectives import Known, exact_optimum
from preflab.theory.synthetic.scenario import Scenario, draw_scenario

EXACT = "PPO, exact"  # the name of the closed-form optimum of the learned reward
SFT_STEPS = 300


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The settings of one experiment.

    `layers`: the number of hidden layers of every network. `sft`: if True, pi_ref is first trained on the chosen
    responses.
    """

    seeds: int = 32
    seed: int = 0
    coverage: float = 0.5
    steps: int = 1000
    layers: int = 1
    sft: bool = False


class Prepared(NamedTuple):
    """The data, the networks and the learned rewards that all methods start with.

    `rewards`: maps each checkpoint to the learned reward [S,X,Y] at this checkpoint. A checkpoint is a number of steps.
    """

    scenario: Scenario
    policies: Networks
    known: Known
    rewards: dict[int, Tensor]


def prepare(setting: Setting, checkpoints: Collection[int]) -> Prepared:
    """Draws the data, makes pi_ref and trains the reward models. `known.reward` of the result is the reward after all
    steps."""
    scenario = draw_scenario(setting.coverage, seeds=setting.seeds, seed=setting.seed)
    policies = make_policies(seeds=setting.seeds, seed=setting.seed, layers=setting.layers)
    unknown = torch.zeros_like(policies.table())
    if setting.sft:
        known = Known(scenario.pairs, unknown, unknown)
        policies = fit_all(policies, objectives.sft_objective, known, steps=SFT_STEPS, checkpoints=()).networks
    known = Known(scenario.pairs, policies.table(), unknown)
    models = make_rewards(seeds=setting.seeds, seed=setting.seed, layers=setting.layers)
    objective, lengths = objectives.reward_model_objective, {*checkpoints, setting.steps}
    rewards = fit_all(models, objective, known, steps=setting.steps, checkpoints=lengths).tables
    return Prepared(scenario, policies, known._replace(reward=rewards[setting.steps]), rewards)


def train(
    prepared: Prepared, methods: Mapping[str, Objective], *, beta: float, steps: int, checkpoints: Collection[int]
) -> dict[str, dict[int, Tensor]]:
    """Trains every method, and returns log pi [S,X,Y] of every method at each checkpoint. A checkpoint is a number of
    steps.

    The policy `EXACT` at a checkpoint is the optimum for the reward that the reward model has learned after this number
    of steps.
    """
    start, known = prepared.policies, prepared.known
    exact = {step: exact_optimum(known.reference, prepared.rewards[step], beta=beta) for step in checkpoints}
    policies = {EXACT: exact}
    for name, objective in methods.items():
        policies[name] = fit_all(start, objective, known, steps=steps, checkpoints=checkpoints).tables
    return policies
