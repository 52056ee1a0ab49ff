"""Says which arms of a study a pairwise evaluator compares, and checks how a study file states it. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Annotated, Any

from pydantic import BeforeValidator

from preflab.errors import UserError, nearest, refuse_unknown
from preflab.evaluation import PAIRWISE_EVALUATORS
from preflab.fields import Name
from preflab.spec import Spec, variant

EXAMPLE = "`pairwise: {shorter: {evaluator: {kind: 'my_duel:Shorter', margin: 2}, against: sft}}`"


class Pairing(Spec):
    """The arms whose answers to the same prompts a pairwise evaluator compares: either the `pairs`, or every other arm
    with the arm `against`."""

    evaluator: Annotated[Any, *variant(PAIRWISE_EVALUATORS)]
    pairs: tuple[tuple[str, str], ...] = ()
    against: str | None = None

    def pairs_among(self, arms: Iterable[str]) -> list[tuple[str, str]]:
        """The pairs in which both arms are among `arms`."""
        known = list(arms)
        named = self.pairs if self.against is None else [(arm, self.against) for arm in known if arm != self.against]
        return [pair for pair in named if pair[0] in known and pair[1] in known]

    def among(self, arms: Iterable[str]) -> Pairing | None:
        """This pairing, limited to the pairs in which both arms are among `arms`; None if no pair remains."""
        pairs = tuple(self.pairs_among(arms))
        return self.model_copy(update={"pairs": () if self.against else pairs}) if pairs else None

    def check(self, place: str, arms: Iterable[str]) -> None:
        """Raises `UserError` if this pairing names no pair, a pair twice, or an arm that the study does not have."""
        if (self.against is None) == (not self.pairs):
            raise UserError(f"`{place}` needs `pairs`, such as [[dpo, sft]], or `against`, an arm: one of the two.")
        named = [*chain.from_iterable(self.pairs), *([] if self.against is None else [self.against])]
        refuse_unknown(named, arms, f"`{place}` names the arm")
        if len({frozenset(pair) for pair in self.pairs}) < len(self.pairs) or any(a == b for a, b in self.pairs):
            raise UserError(f"`{place}.pairs` has a pair twice, or an arm against itself.")


def _check_shape(value: Any) -> Any:
    """Returns what a file has under `pairwise`, unchanged. Raises `UserError`, which gives an example, if it has a wrong
    shape."""
    if not isinstance(value, Mapping):
        raise UserError(f"`pairwise` holds pairwise evaluators by name, such as {EXAMPLE}.")
    for name, pairing in value.items():
        if not isinstance(name, str):
            raise UserError(f"`pairwise` has the name {name!r}, which is not a text: write it in quotes.")
        if not isinstance(pairing, Pairing):
            _check_pairing(f"pairwise.{name}", pairing)
    return value


def _check_pairing(place: str, pairing: Any) -> None:
    if not isinstance(pairing, Mapping):
        raise UserError(f"`{place}` holds an `evaluator`, and `pairs` or `against`, such as {EXAMPLE}.")
    fields = Pairing.model_fields
    for key in pairing:
        if key not in fields:
            hint = nearest(str(key), fields)
            raise UserError(
                f"unknown key `{place}.{key}`: an evaluator's settings belong inside `evaluator:`, such as {EXAMPLE}.{hint}"
            )
    if pairing.get("evaluator") is None:
        raise UserError(f"`{place}` has no `evaluator`: name one, such as {EXAMPLE}.")
    pairs, against = pairing.get("pairs", ()), pairing.get("against")
    if not (isinstance(pairs, list | tuple) and all(map(_is_pair, pairs))):
        raise UserError(f"`{place}.pairs` is a list of pairs of arms, such as [[dpo, sft], [ppo, sft]].")
    if not isinstance(against, str | None):
        raise UserError(f"`{place}.against` is the name of one arm, such as `against: sft`.")


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(name, str) for name in pair)


Pairings = Annotated[dict[Name, Pairing], BeforeValidator(_check_shape)]
"""The type of a field that holds pairings by name, in order."""
