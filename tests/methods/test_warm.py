"""WARM: the mean of saved reward models' weights, what it is worth, and which models have no mean."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.methods.toy import SHAPE, Toy, opened, read, untrained

from preflab.batch import collate_pairs
from preflab.errors import UserError
from preflab.methods.rm import RM
from preflab.methods.shared.held_out import measure_held_out
from preflab.methods.warm import Warm, average_models
from preflab.models import tiny
from preflab.models.heads import load_reward_model, make_reward_model
from preflab.train.learner import Optim


def saved(place: Path, *seeds: int) -> list[Path]:
    paths = [place / str(seed) for seed in seeds]
    for seed, path in zip(seeds, paths, strict=True):
        made = make_reward_model(tiny.make_tiny(SHAPE, seed=seed), seed=0)  # one head, grown a little apart
        made.model.score.weight.data += 0.001 * seed
        made.save(path)
    return paths


def test_the_mean_of_the_weights(tmp_path: Path) -> None:
    """Protects the formula: every weight, head included, is the plain mean over three models; one model is its own mean."""
    paths = saved(tmp_path, 0, 1, 2)
    members = [dict(load_reward_model(path).model.named_parameters()) for path in paths]
    for name, weight in average_models(paths).model.named_parameters():
        torch.testing.assert_close(weight, torch.stack([member[name] for member in members]).mean(dim=0))
    same = dict(average_models([paths[0], paths[0]]).model.named_parameters())
    assert all(torch.equal(weight, members[0][name]) for name, weight in same.items())


def test_it_learns_what_its_members_know(tmp_path: Path) -> None:
    """Protects the method end to end: members of one start that order the toy's pairs give an average that does; its held-out
    measures are its validation, a stage's name is followed to its place, and nothing is charged."""
    policy = untrained()
    for member in range(2):
        spec = RM(epochs=6, batch_size=4, member=member, shared_head=True, optim=Optim(learning_rate=3e-3, warmup=0.0))
        with opened(tmp_path / f"run{member}", policy, token_budget=4096) as parts:
            spec.train(parts).save(tmp_path / f"rm-{member}")
    with opened(tmp_path / "warm", policy, located=lambda path: tmp_path / path.removeprefix("stage:")) as parts:
        scorer = Warm(models=("stage:rm-0", "stage:rm-1")).train(parts)
        assert parts.run.meter.used("compute") == parts.run.meter.used("labels") == 0
    row = read(tmp_path / "warm")[-1]
    held_out = collate_pairs(Toy().preferences("validation"), scorer.encode, limit=8)
    assert row["validation/accuracy"] == 1.0 and row["models"] == 2
    assert row["validation/loss"] == pytest.approx(measure_held_out(scorer, held_out, 4096)["loss"])


def test_models_that_have_no_mean(tmp_path: Path) -> None:
    """Protects from an average of what does not belong together: another width, other words, no reward model; and of one."""
    (first,) = saved(tmp_path, 0)
    wide, other = tmp_path / "wide", tmp_path / "other"
    make_reward_model(tiny.make_tiny(SHAPE.model_copy(update={"width": 64}), seed=0), seed=0).save(wide)
    words = (*SHAPE.words[:-1], "silver")
    make_reward_model(tiny.make_tiny(SHAPE.model_copy(update={"words": words}), seed=0), seed=0).save(other)
    for path in (wide, other):
        with pytest.raises(UserError, match="cannot be averaged"):
            average_models([first, path])
    apart = tmp_path / "apart"
    make_reward_model(tiny.make_tiny(SHAPE, seed=0), seed=1).save(apart)
    with pytest.raises(UserError, match="did not start from the same head"):
        average_models([first, apart])
    untrained().save(tmp_path / "policy")
    with pytest.raises(UserError, match="not a reward model"):
        average_models([first, tmp_path / "policy"])
    with pytest.raises(ValueError, match="models"):
        Warm(models=("a",))
