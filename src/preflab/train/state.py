"""Loads the states of a run's parts, such as learners, from a checkpoint. Raises an error if a state does not fit."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from preflab.errors import UserError
from preflab.text import one_line


class Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


def load_state(parts: Mapping[str, Stateful], tree: Mapping[str, Any]) -> None:
    """Loads the state of each part of a run from the tree of a checkpoint. Raises `UserError` if a state does not fit
    its part."""
    for name, part in parts.items():
        with refused_unless_it_fits(name):
            state: Any = tree[name]
            if not isinstance(state, Mapping):
                raise ValueError(f"its state is a {type(state).__name__}, not a dictionary")
            part.load_state_dict(cast(Mapping[str, Any], state))


@contextmanager
def refused_unless_it_fits(name: str) -> Generator[None]:
    """Turns errors in the block, which loads a state, into a `UserError`. `name`: the name of the part of the run whose
    state is loaded; the message contains this name."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = one_line(f"{type(error).__name__}: {error}")[:200]
        raise UserError(
            f"The checkpoint contains the state of another run: `{name}` does not fit ({reason})."
        ) from error


def require_number(state: Mapping[str, Any], name: str) -> float:
    """Returns a number from a part's state. An integer stays an integer. Raises `ValueError` for any other value."""
    number = state[name]
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"{name} is {number!r}, not a number")
    return number


def require_count(state: Mapping[str, Any], name: str) -> int:
    """Returns a count from a part's state. Raises `ValueError` if the value is not an integer of at least 0."""
    count = require_number(state, name)
    if not isinstance(count, int) or count < 0:
        raise ValueError(f"{name} is {count!r}, not an integer of at least 0")
    return count


def require_tensor(state: Mapping[str, Any], name: str, shape: torch.Size) -> Tensor:
    """Returns a tensor from a part's state. Raises `ValueError` if the value is not a tensor of the shape `shape`,
    because `copy_` would silently broadcast a smaller tensor."""
    tensor = state[name]
    if not isinstance(tensor, Tensor) or tensor.shape != shape:
        raise ValueError(f"{name} is not a tensor of shape {tuple(shape)}")
    return tensor
