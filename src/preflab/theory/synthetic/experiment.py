"""One setting of the scenario, run: the same pairs and the same pi_ref for every method, seed by seed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from preflab.theory.synthetic import objectives
from preflab.theory.synthetic.networks import Networks, Objective, fit_networks, make_policies, make_rewards
from preflab.theory.synthetic.objectives import Known, exact_optimum
from preflab.theory.synthetic.scenario import Scenario, draw_scenario

EXACT = "PPO, exact"
"""The name of the closed-form optimum of the learned reward."""
SFT_STEPS = 300


@dataclass(frozen=True, kw_only=True)
class Setting:
    """`layers`: hidden layers of every network; `sft`: pi_ref is first trained on the chosen responses."""

    seeds: int = 32
    seed: int = 0
    coverage: float = 0.5
    steps: int = 1000
    layers: int = 1
    sft: bool = False


class Prepared(NamedTuple):
    """What all methods start from. `rewards`: the learned reward [S,X,Y] after each of the checkpoints."""

    scenario: Scenario
    policies: Networks
    known: Known
    rewards: dict[int, Tensor]


def prepare(setting: Setting, checkpoints: Collection[int]) -> Prepared:
    """Draws the data, makes pi_ref, trains the reward models. `known.reward` is the finished one."""
    scenario = draw_scenario(setting.coverage, seeds=setting.seeds, seed=setting.seed)
    pairs = (scenario.prompt, scenario.chosen, scenario.rejected)
    policies = make_policies(seeds=setting.seeds, seed=setting.seed, layers=setting.layers)
    unknown = torch.zeros_like(policies.table())
    if setting.sft:
        known = Known(*pairs, unknown, unknown)
        policies = fit_networks(policies, objectives.sft_objective, known, steps=SFT_STEPS, checkpoints=()).networks
    known = Known(*pairs, policies.table(), unknown)
    models = make_rewards(seeds=setting.seeds, seed=setting.seed, layers=setting.layers)
    asked = {*checkpoints, setting.steps}
    rewards = fit_networks(
        models, objectives.reward_model_objective, known, steps=setting.steps, checkpoints=asked
    ).tables
    return Prepared(scenario, policies, known._replace(reward=rewards[setting.steps]), rewards)


def train(
    prepared: Prepared, methods: Mapping[str, Objective], *, beta: float, steps: int, checkpoints: Collection[int]
) -> dict[str, dict[int, Tensor]]:
    """log pi [S,X,Y] of every method after each of the checkpoints; `EXACT` belongs to the reward of that many steps."""
    reference = prepared.known.reference
    found = {EXACT: {step: exact_optimum(reference, prepared.rewards[step], beta=beta) for step in checkpoints}}
    for name, objective in methods.items():
        found[name] = fit_networks(
            prepared.policies, objective, prepared.known, steps=steps, checkpoints=checkpoints
        ).tables
    return found
