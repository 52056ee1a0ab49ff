"""Makes and trains policies and reward models for all seeds at once. Each network is an MLP that maps a one-hot prompt
to one number for each response.

Parameters are stacked over seeds (`torch.func.stack_module_state`), and every computation is a `vmap` over the axis of
seeds. Adam works element by element, so S stacked networks learn exactly what S separate networks would learn.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from preflab.theory.synthetic.scenario import PROMPTS, RESPONSES

HIDDEN = 64
SHARPNESS = 3.0  # scale of the last layer of an untrained policy, so that pi_ref is 1/8 +- about 0.04, as in Figure 1
LEARNING_RATE = 1e-3
ROLLOUT_STEPS = 4  # pi_old is set to pi every ROLLOUT_STEPS optimizer steps (the paper uses four mini-batches)

Parameters = dict[str, Tensor]
Objective = Callable[[Tensor, Tensor, Any], Tensor]
"""A function that returns the loss of one seed. The arguments are the network's output [X,Y], the network's output at
the last rollout, and the fixed data `known` of the seed: the pairs, the reference and the reward."""


class Networks(NamedTuple):
    """S networks with the same architecture. `shape`: a PyTorch module with this architecture, whose own weights are
    not used. `parameters`: the weights of the S networks, stacked as [S,...]."""

    shape: nn.Module
    parameters: Parameters

    def table(self) -> Tensor:
        """Returns the output of all networks, [S,X,Y]: log pi(y|x) of policies, or r(x,y) of reward models."""
        return vmap(lambda values: functional_call(self.shape, values, (torch.eye(PROMPTS),)))(self.parameters)


class Fitted(NamedTuple):
    """The trained networks. `tables`: maps each checkpoint to the output of all networks, [S,X,Y] (see
    `Networks.table`). A checkpoint is a number of steps."""

    networks: Networks
    tables: dict[int, Tensor]


def make_policies(*, seeds: int, seed: int, layers: int = 1) -> Networks:
    """Makes untrained policies with random weights. Their output is log pi(y|x)."""
    return _stack([_seeded(index, 2 * seed, layers, nn.LogSoftmax(-1), SHARPNESS) for index in range(seeds)])


def make_rewards(*, seeds: int, seed: int, layers: int = 1) -> Networks:
    """Makes reward models whose last layer is 0. Before training, every reward is therefore 0, and the optimum is
    pi_ref."""
    return _stack([_seeded(index, 2 * seed + 1, layers, nn.Identity(), 0.0) for index in range(seeds)])


def fit_all(
    networks: Networks, objective: Objective, known: Any, *, steps: int, checkpoints: Collection[int]
) -> Fitted:
    """Trains all networks with Adam on the full batch for `steps` steps.

    `objective` computes the loss of one seed. `known`: the fixed data of all seeds; its tensors have the shape [S,...].
    """
    parameters = {name: value.detach().clone().requires_grad_() for name, value in networks.parameters.items()}
    learners = Networks(networks.shape, parameters)
    optimizer = torch.optim.Adam(parameters.values(), lr=LEARNING_RATE)
    losses = vmap(objective)
    old = networks.table().detach()
    tables = {0: old} if 0 in checkpoints else {}
    for step in range(steps):
        table = learners.table()
        if step % ROLLOUT_STEPS == 0:
            old = table.detach()
        if step > 0 and step in checkpoints:
            tables[step] = table.detach()
        optimizer.zero_grad()
        losses(table, old, known).sum().backward()  # seeds share no parameters, so the sum does not mix their gradients
        optimizer.step()
    if steps in checkpoints:
        tables[steps] = learners.table().detach()
    return Fitted(Networks(networks.shape, {name: value.detach() for name, value in parameters.items()}), tables)


def _seeded(index: int, stream: int, layers: int, last: nn.Module, head_scale: float) -> nn.Sequential:
    sizes = [PROMPTS, *[HIDDEN] * layers]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1_000_003 * stream + index)
        body = [part for pair in pairwise(sizes) for part in (nn.Linear(*pair), nn.ReLU())]
        # without a hidden layer, the network is a table: prompts share no parameters, so there is no bias
        head = nn.Linear(sizes[-1], RESPONSES, bias=layers > 0)
    with torch.no_grad():
        head.weight.mul_(head_scale)
        if layers:
            head.bias.zero_()
    return nn.Sequential(*body, head, last)


def _stack(modules: list[nn.Sequential]) -> Networks:
    parameters, _ = stack_module_state(list(modules))
    return Networks(modules[0], {name: value.detach() for name, value in parameters.items()})
