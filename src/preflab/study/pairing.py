"""Selects the pairs of arms that a pairwise evaluator compares, and checks the field `pairwise` of a study file.

Does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Annotated, Any

from pydantic import BeforeValidator

from preflab.errors import UserError, nearest, refuse_unknown
from preflab.evaluation import PAIRWISE_EVALUATORS
from preflab.evaluation.pairwise import DATA_CHOSEN, PairwiseEvaluatorSpec
from preflab.fields import Name
from preflab.spec import Spec, variant

EXAMPLE = "`pairwise: {shorter: {evaluator: {kind: 'my_duel:Shorter', margin: 2}, against: sft}}`"


class Pairing(Spec):
    """A pairwise evaluator, and the pairs of arms that the evaluator compares by their answers to the same prompts.
    `pairs` lists the pairs. Alternatively, `against` names one arm, and the evaluator compares every other arm with
    this arm. The second element of a pair can also be `data:chosen`, which means the chosen answers in the data of the
    test split. `against` can be `data:chosen` too."""

    evaluator: Annotated[PairwiseEvaluatorSpec, *variant(PAIRWISE_EVALUATORS)]
    pairs: tuple[tuple[str, str], ...] = ()
    against: str | None = None

    def pairs_among(self, arms: Iterable[str]) -> list[tuple[str, str]]:
        """Returns the pairs whose first arm is in `arms`, and whose second arm is in `arms` or is `data:chosen`."""
        known = list(arms)
        named = self.pairs if self.against is None else [(arm, self.against) for arm in known if arm != self.against]
        return [pair for pair in named if pair[0] in known and pair[1] in (*known, DATA_CHOSEN)]

    def among(self, arms: Iterable[str]) -> Pairing | None:
        """Returns a copy of this pairing with only the pairs that `pairs_among` returns; None if it returns no pair."""
        pairs = tuple(self.pairs_among(arms))
        return self.model_copy(update={"pairs": () if self.against else pairs}) if pairs else None

    def check(self, place: str, arms: Iterable[str]) -> None:
        """Raises `UserError` unless this pairing has either `pairs` or `against`. Also raises `UserError` if a pair
        occurs twice, if a pair compares an arm with itself, if a pair begins with `data:chosen`, or if an arm is not in
        `arms`. `place`: the key of the pairing in the study file."""
        if (self.against is None) == (not self.pairs):
            raise UserError(f"`{place}` needs `pairs`, such as [[dpo, sft]], or an arm as `against`, but not both.")
        if any(first == DATA_CHOSEN for first, _ in self.pairs):
            raise UserError(
                f"A pair in `{place}.pairs` begins with {DATA_CHOSEN!r}. Write [ARM, {DATA_CHOSEN!r}], which gives the "
                "arm's win rate."
            )
        named = [*chain.from_iterable(self.pairs), *([] if self.against is None else [self.against])]
        refuse_unknown(named, [*arms, DATA_CHOSEN], f"`{place}` names the arm")
        if len({frozenset(pair) for pair in self.pairs}) < len(self.pairs) or any(a == b for a, b in self.pairs):
            raise UserError(f"`{place}.pairs` has a pair twice, or a pair of an arm with itself. Remove this pair.")


def refuse_same_pairs(comparisons: Iterable[tuple[str, str]]) -> None:
    """Raises `UserError` if `comparisons` has a pair twice or a pair of an arm with itself. Such a pair would count in
    the correction for multiple tests."""
    seen: set[frozenset[str]] = set()
    for first, second in comparisons:
        if first == second:
            raise UserError(f"`comparisons` compares the arm {first!r} with itself. Remove this pair.")
        if frozenset((first, second)) in seen:
            raise UserError(f"`comparisons` has the pair of {first!r} and {second!r} twice. Remove one of these pairs.")
        seen.add(frozenset((first, second)))


def _check_shape(value: Any) -> Any:
    """Checks the value of `pairwise` in a study file, and returns it. Raises `UserError`, with an example, if the value
    does not map names to pairings."""
    if not isinstance(value, Mapping):
        raise UserError(f"`pairwise` must map names to pairwise evaluators, such as {EXAMPLE}.")
    for name, pairing in value.items():
        if not isinstance(name, str):
            raise UserError(f"`pairwise` has the key {name!r}, which is not text. Write the key in quotes.")
        if not isinstance(pairing, Pairing):
            _check_pairing(f"pairwise.{name}", pairing)
    return value


def _check_pairing(place: str, pairing: Any) -> None:
    if not isinstance(pairing, Mapping):
        raise UserError(f"`{place}` must have an `evaluator`, and `pairs` or `against`, such as {EXAMPLE}.")
    fields = Pairing.model_fields
    for key in pairing:
        if key not in fields:
            hint = nearest(str(key), fields)
            raise UserError(
                f"unknown key `{place}.{key}`: an evaluator's settings belong inside `evaluator:`, such as {EXAMPLE}.{hint}"
            )
    if pairing.get("evaluator") is None:
        raise UserError(f"`{place}` has no `evaluator`. Add an evaluator, such as {EXAMPLE}.")
    pairs, against = pairing.get("pairs", ()), pairing.get("against")
    if not (isinstance(pairs, list | tuple) and all(map(_is_pair, pairs))):
        raise UserError(f"`{place}.pairs` must be a list of pairs of arms, such as [[dpo, sft], [ppo, sft]].")
    if not isinstance(against, str | None):
        raise UserError(f"`{place}.against` must be the name of one arm, such as `against: sft`.")


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(name, str) for name in pair)


Pairings = Annotated[dict[Name, Pairing], BeforeValidator(_check_shape)]
"""The type of a field that maps names to pairings, in the order of the study file."""
