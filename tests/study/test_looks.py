"""Looks: a study that looks at its results several times stops when they are settled, at a price that keeps its error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.study.results.test_make import study, write
from tests.written import COUNTS, written

from preflab.analysis.simulate import Design, error_over_looks
from preflab.analysis.statistics import LOOK_SHARES
from preflab.errors import UserError
from preflab.study import run as running
from preflab.study.looks import looks_of
from preflab.study.results.make import study_results
from preflab.study.run import run_claimed
from preflab.train.files import write_json

CLAIM = {"id": "C", "text": "It helps.", "contrast": {"ppo": 1, "dpo": -1}, "margin": 0.02}


def looking(**changes: Any) -> Any:
    return study(**{"seeds": {"looks": [3, 4, 5]}, "claims": [CLAIM], "comparisons": [], **changes})


UNSURE = (0.0, 0.6)
"""The shares of an arm that is far below .3 under one seed and far above it under the next."""


def finish(directory: Path, shares: Mapping[str, float | tuple[float, ...]], seeds: range) -> None:
    """Writes the runs of some seeds by hand. Several shares take turns."""
    for seed in seeds:
        stage = directory / f"seed-{seed}" / "stages" / "sft"
        stage.mkdir(parents=True)
        write_json(stage / "result.json", written(counts=COUNTS | {"trained_tokens": 1.0}))
        for name, share in shares.items():
            turn = share[seed % len(share)] if isinstance(share, tuple) else share
            write(directory / f"seed-{seed}" / name, name, turn, seed=seed)


def test_the_looks_share_alpha() -> None:
    """Three looks use .01, .015 and .025 of .05, so that a family grows 5, 3.33 and 2 times. The shares sum to 1."""
    assert looks_of(looking()) == [(3, 5.0), (4, pytest.approx(10 / 3)), (5, 2.0)]
    assert looks_of(study(seeds=4)) == [(4, 1.0)]
    assert all(sum(shares) == pytest.approx(1.0) and len(shares) == count for count, shares in LOOK_SHARES.items())
    assert (looking().seeds, looking().seed_looks) == (5, (3, 4, 5))


@pytest.mark.parametrize("tails", [None, 3.0])
def test_looking_three_times_keeps_the_error(tails: float | None) -> None:
    """Protects the union bound: two equal arms, looks after 5, 8 and 12 seeds, 600 studies. A false difference at any look is
    rarer than 5% (here about 3%; the standard error at 5% is .009), also where the effects of seeds have heavy tails."""
    looks = [(seeds, 1 / share) for seeds, share in zip((5, 8, 12), LOOK_SHARES[3], strict=True)]
    assert error_over_looks(Design(12, 100, seed_sd=(0.02, 0.02), tails=tails), looks, 600) < 0.06


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ({"looks": [5, 5]}, "numbers of seeds, in rising order"),
        ({"looks": [8, 5]}, "numbers of seeds, in rising order"),
        ({"looks": [2, 3]}, "seed_looks"),
        ({"looks": [3, 4, 5, 6]}, "seed_looks"),
        ({"looks": []}, "`seeds` is a number, or looks"),
        ({"look": [2, 3]}, "`seeds` is a number, or looks"),
    ],
)
def test_wrong_looks_are_refused(seeds: Any, words: str) -> None:
    """Protects the plan of the looks from one that cannot be followed."""
    with pytest.raises(UserError, match=words):
        study(seeds=seeds)


def test_a_study_with_looks_takes_no_other_number_of_seeds() -> None:
    """Protects the error of the looks: `--seeds` would analyse seeds after a look as if nobody had looked."""
    with pytest.raises(UserError, match="looks at its results after 3, 4, 5 seeds"):
        looking().narrowed(seeds=5)
    with pytest.raises(UserError, match="`seed_looks` ends with 4, but `seeds` is 5"):
        study(seeds=5, seed_looks=[3, 4])
    assert looking().narrowed(["ppo"]).seed_looks == (3, 4, 5) and looking().until_seed(3).seeds == 3


def test_a_look_reads_its_own_seeds_alone(tmp_path: Path) -> None:
    """Protects the error of a stopped study. With three of five seeds, the results are those of the first look, for a family of
    1 claim x 2 decodings x 5. A fourth seed that only one arm has finished does not count yet."""
    finish(tmp_path, {"ppo": 0.8, "dpo": 0.3, "sft": 0.3}, range(3))
    outcome = study_results(looking(), tmp_path, command="")
    (pair,) = [row for row in outcome.verdict.evidence if (row.first, row.second) == ("ppo", "dpo")]
    assert (outcome.seeds, pair.family) == ((0, 1, 2), 5.0)
    assert [row.outcome for row in outcome.claims] == ["confirmed", "confirmed"]
    assert outcome.looks == "settled at the look after 3 seeds; 2 more were not needed" and outcome.unfinished == ""
    finish(tmp_path, {"ppo": 0.0}, range(3, 4))
    assert study_results(looking(), tmp_path, command="").seeds == (0, 1, 2)


def test_what_is_not_settled_goes_on(tmp_path: Path) -> None:
    """Protects a study from ending without an answer: an arm that is worse under one seed and better under the next is not
    decided, and the report says that it goes on."""
    finish(tmp_path, {"ppo": UNSURE, "dpo": 0.3, "sft": 0.3}, range(3))
    outcome = study_results(looking(), tmp_path, command="preflab study s")
    assert outcome.looks == "not settled at the look after 3 seeds"
    assert outcome.unfinished == (
        "Unfinished: not settled after 3 seeds, so that the study goes on. To continue: preflab study s"
    )
    finish(tmp_path, {"ppo": UNSURE, "dpo": 0.3, "sft": 0.3}, range(3, 5))
    last = study_results(looking(), tmp_path, command="")
    assert last.looks == "not settled at the look after 5 seeds" and last.unfinished == ""


@pytest.mark.parametrize(("ppo", "looks"), [(0.8, [3]), (0.3, [3]), (UNSURE, [3, 4, 5])])
def test_a_study_runs_until_it_is_settled(
    ppo: float | tuple[float, ...], looks: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the seeds that are not needed: a gain of 50 points is settled at the first look, and so are equal arms, whose
    interval is within the margin. An arm that turns round is settled at no look."""
    planned: list[int] = []
    done = 0

    def finish_part(runs: Any) -> dict[Path, str]:
        nonlocal done
        seeds = 1 + max(run.spec.seed for run in runs)
        planned.append(seeds)
        finish(tmp_path, {"ppo": ppo, "dpo": 0.3, "sft": 0.3}, range(done, seeds))
        done = seeds
        return {}

    monkeypatch.setattr(running, "write_study", lambda *args: None)
    assert run_claimed(looking(), tmp_path, "", finish_part, tune=False) == ()
    assert planned == looks
