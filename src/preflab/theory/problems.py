"""Draws random tabular problems for every case of Theorem 4.1. Writes a problem as plain data, and reads such a
problem.

A problem consists of a reference policy, preferences between some responses of each prompt, and beta. The reference is
positive for every compared response, because otherwise the DPO loss would be undefined (0/0).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import BaseModel, Field, NonNegativeFloat
from torch import Tensor

from preflab.errors import UserError
from preflab.plain import read_data
from preflab.spec import parse_spec

_CHUNK = (
    1000  # problems are drawn in chunks of this fixed size, so that problem i of a seed does not depend on `trials`
)
MOST_TRIALS = 1_000_000  # this number of trials takes about ten minutes
BETA_RANGE = (
    0.001,
    1000.0,
)  # outside this range, rewards or log-ratios are so large that their rounding errors exceed the tolerances
_MOST_WINS = 1e6  # the largest count in a file, because larger counts cause too large rounding errors


def require(*conditions: tuple[bool, str]) -> None:
    """Each condition is a pair of a truth value and a message. Raises `UserError` with the message of the first pair
    whose truth value is False."""
    for kept, message in conditions:
        if not kept:
            raise UserError(message)


def check_beta(beta: float) -> None:
    """Raises `UserError` if beta is out of range."""
    low, high = BETA_RANGE
    reason = (
        f"--beta {beta:g} is out of range. Choose a value from {low:g} to {high:g}, where double precision suffices."
    )
    require((low <= beta <= high, reason))


class Problems(NamedTuple):
    """T problems of P prompts with K responses each, in float64."""

    reference: Tensor  # pi_ref [T,P,K], rows sum to 1
    wins: Tensor  # [T,P,K,K]: how often i was preferred to j
    beta: Tensor  # [T]
    # [T,P,K]: a constant for each group of linked responses, stored at the first response of the group. Two responses
    # are linked if a chain of pairs leads from one to the other. The DPO loss does not depend on these constants.
    free: Tensor
    share: Tensor  # [T]: the share of a prompt's probability that the check moves onto a response that is in no pair


class ProblemShape(NamedTuple):
    """The shape of the problems that `draw_problems` draws. `coverage`: the probability that a response may occur in
    pairs. Such a response need not occur in a pair. If `beta` is None, a separate beta is drawn for each problem,
    log-uniformly from [0.05, 2]."""

    prompts: int = 3
    responses: int = 6
    coverage: float = 0.7
    beta: float | None = None


def draw_problems(trials: int, seed: int, shape: ProblemShape) -> Iterator[Problems]:
    """Yields `trials` problems in chunks. Raises `UserError` if a number is out of its range.

    Three properties vary between problems: whether the reference has full support, whether the compared responses form
    a single group, and whether some pairs have wins in both directions.
    """
    require(
        (1 <= trials <= MOST_TRIALS, f"--trials {trials}: give a whole number, 1 to {MOST_TRIALS:,}."),
        (0 <= seed < 2**63, f"--seed {seed}: give a whole number from 0 to 2^63 - 1."),
        (1 <= shape.prompts <= 8, f"--prompts {shape.prompts}: give 1 to 8. To test more prompts, raise --trials."),
        (2 <= shape.responses <= 12, f"--responses {shape.responses}: give 2 to 12."),
        (0 <= shape.coverage <= 1, f"--coverage {shape.coverage:g}: give a share from 0 to 1."),
    )
    if shape.beta is not None:
        check_beta(shape.beta)
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, trials, _CHUNK):
        yield Problems(*(values[: trials - start] for values in _draw_chunk(generator, shape)))


def _draw_chunk(generator: torch.Generator, shape: ProblemShape) -> Problems:
    size = (_CHUNK, shape.prompts, shape.responses)
    wins = _draw_wins(generator, size, shape.coverage)
    uncovered = (wins + wins.mT).sum(-1) == 0
    dropped = uncovered & (_uniform(generator, _CHUNK, 1, 1) < 0.5) & (_uniform(generator, *size) < 0.6)
    dropped &= ~dropped.all(-1, keepdim=True)  # every prompt keeps a response with pi_ref > 0
    logits = 2.0 * torch.randn(size, generator=generator, dtype=torch.float64)
    reference = torch.softmax(torch.where(dropped, -torch.inf, logits), dim=-1)
    drawn = 0.05 * 40.0 ** _uniform(generator, _CHUNK)
    beta = drawn if shape.beta is None else torch.full_like(drawn, shape.beta)
    free = 3.0 * torch.randn(size, generator=generator, dtype=torch.float64)
    return Problems(reference, wins, beta, free, share=0.05 + 0.9 * _uniform(generator, _CHUNK))


def _draw_wins(generator: torch.Generator, size: tuple[int, int, int], coverage: float) -> Tensor:
    """Draws wins [T,P,K,K]. Each drawn pair has wins in one direction or in both directions. In a direction with wins,
    `wins` is a count from 1 to 9. All other entries are 0.

    A chain of pairs in random order links the responses of a group. Further pairs are drawn at random.
    """
    trials, _, responses = size
    offered = _uniform(generator, *size) < coverage
    apart = _uniform(generator, trials, 1, 1) < 0.5
    group = (_uniform(generator, *size) < 0.5) & apart
    offered[:, 0, :2], group[:, 0, :2] = True, False  # every problem gets at least one pair
    eligible = offered[..., :, None] & offered[..., None, :] & (group[..., :, None] == group[..., None, :])
    eligible &= ~torch.eye(responses, dtype=torch.bool)
    place = torch.where(offered, _uniform(generator, *size), torch.nan)
    low, high = (f(place[..., :, None], place[..., None, :])[..., None] for f in (torch.minimum, torch.maximum))
    third = place[..., None, None, :]
    between = (eligible[..., :, None, :] & (low < third) & (third < high)).any(-1)
    pair = eligible & (~between | _symmetric(_uniform(generator, *size, responses) < 0.4))

    rank = _uniform(generator, *size)
    both_ways = torch.tensor([0.0, 1.0, 0.5])[torch.randint(3, (trials,), generator=generator)]
    upset = _symmetric(_uniform(generator, *size, responses) < both_ways[:, None, None, None])
    counts = torch.randint(1, 10, (*size, responses), generator=generator).double()
    return counts * (pair & ((rank[..., :, None] > rank[..., None, :]) | upset))


def _uniform(generator: torch.Generator, *size: int) -> Tensor:
    return torch.rand(size, generator=generator, dtype=torch.float64)


def _symmetric(flags: Tensor) -> Tensor:
    """Copies the flags of the upper triangle to the lower triangle, so that both orders of a pair have the same flag."""
    upper = flags.triu(1)
    return upper | upper.mT


# -- one problem as plain data ------------------------------------------------------------------------------------------


class TabularProblem(BaseModel, extra="forbid", frozen=True, allow_inf_nan=False):
    """One problem as plain data: the fields of `Problems` as nested lists."""

    reference: list[list[NonNegativeFloat]]
    wins: list[list[list[Annotated[float, Field(ge=0.0, le=_MOST_WINS)]]]]
    beta: Annotated[float, Field(ge=BETA_RANGE[0], le=BETA_RANGE[1])]
    free: list[list[Annotated[float, Field(ge=-100.0, le=100.0)]]]
    share: Annotated[float, Field(ge=0.05, le=0.95)]


def problem_as_json(problems: Problems, index: int) -> dict[str, Any]:
    """Returns problem `index` as plain data. `read_tabular_problem` restores exactly the same numbers."""
    return {name: values[index].tolist() for name, values in problems._asdict().items()}


def read_tabular_problem(path: Path) -> Problems:
    """Reads one problem (T = 1) from a file.

    Raises `UserError` if the problem is not valid. The message names the file and the fault.
    """
    fields = parse_spec(TabularProblem, read_data(path), where=str(path)).model_dump()
    problem = Problems(*(_as_tensor(fields[name], f"{path}: `{name}`")[None] for name in Problems._fields))
    if fault := _find_fault(problem):
        raise UserError(f"{path}: {fault}")
    return problem


def _as_tensor(values: Any, where: str) -> Tensor:
    try:
        return torch.tensor(values, dtype=torch.float64)
    except ValueError as error:
        raise UserError(f"{where} has rows of unequal length ({error}).") from error


def _find_fault(problem: Problems) -> str:
    """Returns a description of what is wrong with a problem from a file. Returns '' if the problem is valid."""
    shape = problem.reference.shape
    if len(shape) != 3 or problem.wins.shape != (*shape, shape[-1]) or problem.free.shape != shape:
        return "`reference` and `free` need one row for each prompt, and `wins` one square matrix for each prompt."
    if bool(((problem.reference.sum(-1) - 1.0).abs() > 1e-9).any()):
        return "a row of `reference` does not sum to 1."
    if bool(((problem.wins > 0) & (problem.wins < 1 / _MOST_WINS)).any()):
        return f"`wins` contains a count between 0 and {1 / _MOST_WINS:g}. A count must be 0 or at least this number."
    if bool((problem.wins.diagonal(dim1=-2, dim2=-1) > 0).any()) or not bool((problem.wins > 0).any()):
        return "`wins` needs at least one pair of different responses, and must not compare a response with itself."
    if bool((((problem.wins + problem.wins.mT).sum(-1) > 0) & (problem.reference == 0)).any()):
        return "a compared response has `reference` 0, so the DPO loss is undefined. Give a `reference` above 0."
    return ""
