"""Divides dialogues into three parts by their first human turn.

Part A trains policies and reward models. Part B trains only the evaluator. Part C is the test data. The part of a
dialogue depends only on its first human turn. The same first human turn is never in two parts, and never in both
training and validation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from preflab.errors import UserError
from preflab.testbeds.base import SPLITS, TestbedSpec
from preflab.testbeds.provenance import make_turn_key, place_key
from preflab.types import Completion, Prompt, Split, Turn


def refuse_value(is_wrong: Callable[[Any], bool], reason: str) -> AfterValidator:
    """Returns a pydantic validator that refuses wrong values of a setting. `is_wrong`: a function that checks whether a
    value is wrong. `reason`: the error message."""

    def check(value: Any) -> Any:
        if is_wrong(value):
            raise ValueError(reason)
        return value

    return AfterValidator(check)


_SHARES = refuse_value(
    lambda shares: min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6,
    "the shares of policy, evaluator and test must be positive and sum to 1",
)
_SHARE = refuse_value(lambda share: not 0 < share < 1, "the share of validation must lie between 0 and 1")


class ThreeParts(TestbedSpec):
    """The settings that divide the data into the parts A, B and C. `part`: the part that supplies the training and
    validation data, "policy" (A) or "evaluator" (B). The test split is always C. `fractions`: the fractions of first
    human turns in A, B and C. `validation`: the fraction of part A, or of part B, that is used for validation.
    `max_prompt_chars`, `max_answer_chars`: a record is dropped if its prompt or one of its answers has more characters
    than this setting allows. The testbed's notes give the number of dropped records for each reason."""

    part: Literal["policy", "evaluator"] = "policy"
    fractions: Annotated[tuple[float, float, float], _SHARES] = (0.5, 0.3, 0.2)
    validation: Annotated[float, _SHARE] = 0.1
    max_prompt_chars: int | None = None
    max_answer_chars: int | None = None

    def choose_split(self, prompt: Prompt) -> Split | None:
        """Returns the split of a dialogue, or None if the dialogue is in a part that this testbed does not use. The
        split depends only on the first human turn."""
        key = make_turn_key(prompt)
        policy, evaluator, _ = self.fractions
        at = place_key(key, "part")
        part = "policy" if at < policy else "evaluator" if at < policy + evaluator else "test"
        if part == "test":
            return "test"
        if part != self.part:
            return None
        return "validation" if place_key(key, "validation") < self.validation else "train"

    def explain_excess(self, turns: Sequence[Turn], answers: Sequence[Completion]) -> str:
        """Returns the reason why a record is too long, or '' if the record is not too long."""
        if self.max_prompt_chars is not None and sum(len(turn.content) for turn in turns) > self.max_prompt_chars:
            return f"the prompt has more than {self.max_prompt_chars} characters"
        if self.max_answer_chars is not None and max(len(answer.text) for answer in answers) > self.max_answer_chars:
            return f"an answer has more than {self.max_answer_chars} characters"
        return ""


def refuse_empty_splits(rows: Mapping[Split, Sequence[object]], where: str, counts: str) -> None:
    """Raises `UserError` if a split has no rows. `where`: the source of the data. `counts`: a phrase for the number of
    records that were read. The message contains both texts."""
    if empty := [split for split in SPLITS if not rows[split]]:
        raise UserError(
            f"{where}: none of {counts} falls into these splits: {', '.join(empty)}. Use more data or other `fractions`."
        )
