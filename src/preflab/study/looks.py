"""Determines the looks of a study, and whether the study can stop after a look. A look is an analysis of the results
after a planned number of seeds. Does not import torch.

A study with several looks can stop at each look. Look k uses the part alpha_k of the error alpha, so that the chance of
any false statement at any look is at most alpha. This is a union bound, which does not need independent looks. The
looks are not independent, because they use the same problems and seeds. At look k, the intervals of a family of m
comparisons have the width that they would have in a family of m (alpha / alpha_k) comparisons. The intervals are
repeated confidence intervals (Jennison and Turnbull 1989), which are valid at any look at which the study stops."""

from __future__ import annotations

from typing import NamedTuple

from preflab.analysis.gather import Arms, FinishedRun
from preflab.analysis.record import DecidedClaim, Results
from preflab.analysis.statistics import LOOK_SHARES
from preflab.study.spec import Study


class Look(NamedTuple):
    """An analysis of the results after `seeds` seeds. `times`: alpha / alpha_k. The correction for multiple tests
    multiplies the number of comparisons by this factor."""

    seeds: int
    times: float


def looks_of(study: Study) -> list[Look]:
    """Returns the looks of a study, in order. A study without the setting `seeds.looks` has a single look, after all
    seeds."""
    counts = study.seed_looks or (study.seeds,)
    return [Look(seeds, 1 / share) for seeds, share in zip(counts, LOOK_SHARES[len(counts)], strict=True)]


def look_reached(study: Study, arms: Arms) -> Look:
    """Returns the last look whose seeds every arm has finished. If there is no such look, returns the first look."""
    looks = looks_of(study)
    reached = [look for look in looks if is_complete(study, arms, look.seeds)]
    return reached[-1] if reached else looks[0]


def until(study: Study, arms: Arms, look: Look) -> dict[str, list[FinishedRun]]:
    """Returns the finished runs of each arm under the seeds of a look. An arm without such a run is left out."""
    seeds = study.until_seed(look.seeds).seed_numbers
    kept = {name: [run for run in runs if run.seed in seeds] for name, runs in arms.items()}
    return {name: runs for name, runs in kept.items() if runs}


def is_complete(study: Study, arms: Arms, seeds: int) -> bool:
    """Returns whether every arm has finished its first `seeds` seeds."""
    numbers = {*study.until_seed(seeds).seed_numbers}
    return all(numbers <= {run.seed for run in arms.get(name, ())} for name in study.arms)


def is_settled(results: Results) -> bool:
    """Returns whether the study's statements are final, so that no more seeds are needed. All claims must be decided at
    every decoding setting (such as greedy decoding and sampling at temperature 1). In a study without claims, all
    comparisons in the study file must be decided. In a study with neither claims nor comparisons, there must be a
    winner at every decoding setting."""
    if results.claims:
        return all(is_decided(claim) for claim in results.claims)
    named = [pair for pair in results.comparisons if pair.named]
    if named:
        return all(pair.decided for pair in named)
    return all(verdict.winner is not None for verdict in results.verdicts.values())


def is_decided(decided: DecidedClaim) -> bool:
    """Returns whether the statement about a claim is final. It is final if the claim is confirmed or refuted, or if the
    claim's whole interval lies between -margin and +margin."""
    low, high, margin = decided.value.low, decided.value.high, decided.claim.margin
    small = low is not None and high is not None and -margin < low and high < margin
    return small or decided.outcome in ("confirmed", "refuted")


def describe_looks(study: Study, look: Look, results: Results) -> str:
    """Returns a phrase about a study's results at this look: settled or not settled. Returns '' for a study without the
    setting `seeds.looks`, or before the first look."""
    if not study.seed_looks or len(results.seeds) < look.seeds:
        return ""
    if not is_settled(results):
        return f"not settled at the look after {look.seeds} seeds"
    spared = study.seeds - look.seeds
    return f"settled at the look after {look.seeds} seeds" + (f"; {spared} more were not needed" if spared else "")
