"""A finished study of an earlier preflab: its directory can still be rendered, and what its runs measured does not change."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from preflab.api import report_study
from preflab.report import Results

OLD = Path(__file__).parent / "goldens" / "old-study.tar.xz"
"""The directory of a study that preflab made before results had seals, several evaluators or two decodings (2026-11-26): three
arms, three seeds, 40 problems. Without weights and logs; of the training curves, every fortieth step is kept."""
PASSED = {"trained": 0.375, "sft": 0.09791666666666667, "broken": 0.0}
"""pass@1 at temperature .2, from the `results.json` that the earlier preflab wrote: 180, 47 and 0 of 480 answers."""


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Results:
    directory = tmp_path_factory.mktemp("old")
    with tarfile.open(OLD) as archive:
        archive.extractall(directory, filter="data")
    return report_study(directory)[0]


def test_what_the_runs_measured_is_the_same(rendered: Results) -> None:
    """Protects users' finished studies. The estimates are those that the earlier preflab printed: the differences are
    .375 - 0 = .375 and .375 - .0979 = .2771."""
    values = {
        arm.name: next(row.value.estimate for row in arm.measures if (row.metric, row.level) == ("pass@1", ""))
        for arm in rendered.arms
    }
    assert values == pytest.approx(PASSED)
    differences = {
        (pair.first, pair.second): pair.difference
        for pair in rendered.comparisons
        if pair.named and pair.decoding == "chosen"
    }
    assert differences == pytest.approx({("trained", "broken"): 0.375, ("trained", "sft"): 0.27708333333333335})


def test_its_claim_and_its_verdicts(rendered: Results) -> None:
    """The claim `trained - sft` was not decided, and is not. At temperature .2 the earlier preflab said that `trained` won
    (p = .039 against `broken`). A study now decides at two decodings, which doubles p to .077: not decided. At
    temperature 1, which the earlier preflab did not decide, `trained` wins and the claim is confirmed."""
    outcomes = {decided.decoding: decided.outcome for decided in rendered.claims}
    assert outcomes == {"chosen": "not decided", "unit": "confirmed"}
    assert {name: verdict.winner for name, verdict in rendered.verdicts.items()} == {"chosen": None, "unit": "trained"}
