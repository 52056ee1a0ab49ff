"""Contains the code that `sentiment` and `safeworld` share. These two embedded testbeds know the true values of
answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from preflab.errors import UserError
from preflab.types import Prompt, Split

Request = TypeVar("Request")


def read_request(requests: Mapping[str, Request], prompt: Prompt, testbed: str, split: Split) -> Request:
    """Returns the request from which a prompt was made. `requests`: maps prompt ids to requests. Raises `UserError` if
    the prompt is not in this split of the testbed."""
    if prompt.id not in requests:
        raise UserError(
            f"Prompt {prompt.id!r} is not in the {split} split of {testbed}, so its answers have no true values. Use "
            "prompts of this split, from a testbed with the same settings."
        )
    return requests[prompt.id]
