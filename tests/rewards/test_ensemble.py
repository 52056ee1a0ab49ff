"""Several reward models as one: the three ways to combine them, by hand, and what they charge."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preflab.errors import UserError
from preflab.evaluation.held_out_reward import HeldOutReward
from preflab.meter import Meter
from preflab.methods.warm import Warm
from preflab.models.heads import make_reward_model
from preflab.models.load import load_model
from preflab.models.spec import ModelSpec, TinyShape
from preflab.rewards import REWARDS
from preflab.rewards.base import Reward, RewardSpec
from preflab.rewards.ensemble import Ensemble
from preflab.rewards.function import Function
from preflab.rewards.learned import Learned
from preflab.spec import Context
from preflab.types import Completion, Prompt, Turn

PROMPT = Prompt("p", (Turn("user", "add"),))


class Constant(RewardSpec):
    """A reward that gives the same scores whatever it is asked."""

    kind: Literal["constant"] = "constant"
    scores: tuple[float, ...]
    deterministic: bool = True
    labels: bool = False

    @contextmanager
    def open(self, context: Context) -> Generator[Any]:
        yield Opened(self)


class Opened(Reward):
    def __init__(self, spec: Constant) -> None:
        self.deterministic = spec.deterministic
        self.buys_labels = spec.labels
        self._spec = spec

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
        return list(self._spec.scores)


def scores(*members: tuple[float, ...], **fields: Any) -> list[float]:
    spec = Ensemble.model_validate({"models": tuple(Constant(scores=member) for member in members), **fields})
    with spec.open(Context()) as reward:
        return reward.score([PROMPT] * len(members[0]), [Completion("a")] * len(members[0]))


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, [2.0, 0.0]),
        ({"combine": "worst"}, [1.0, -3.0]),
        ({"combine": "uncertainty"}, [2.0 - 0.1 * 2 / 3, 0.0 - 0.1 * 6]),
        ({"combine": "uncertainty", "coefficient": 0.5}, [2.0 - 1 / 3, -3.0]),
    ],
)
def test_by_hand(fields: dict[str, Any], wanted: list[float]) -> None:
    """Protects the formulas. Three members say 1, 2, 3 of the first answer (mean 2, variance 2/3) and 0, 3, -3 of the second
    (mean 0, variance 18/3 = 6): the mean, the smallest, and the mean less .1 or .5 variances."""
    assert scores((1.0, 0.0), (2.0, 3.0), (3.0, -3.0), **fields) == pytest.approx(wanted)


@given(st.lists(st.floats(-9, 9), min_size=2, max_size=5), st.floats(0, 2))
def test_doubt_never_adds(members: list[float], coefficient: float) -> None:
    """Protects conservatism: neither the worst nor the uncertain score exceeds the mean; members that agree lose nothing."""
    columns = [(score,) for score in members]
    (mean,) = scores(*columns)
    assert scores(*columns, combine="worst")[0] <= mean + 1e-9
    assert scores(*columns, combine="uncertainty", coefficient=coefficient)[0] <= mean + 1e-9
    for combine in ("mean", "worst", "uncertainty"):
        assert scores((3.0,), (3.0,), combine=combine) == pytest.approx([3.0])


def test_what_its_members_are_it_is() -> None:
    """Protects exact resume and the labels budget: one member that is not deterministic, or that costs labels, is enough."""
    plain = Constant(scores=(1.0,))
    for other, wanted in (
        (plain, (True, False)),
        (Constant(scores=(1.0,), deterministic=False, labels=True), (False, True)),
    ):
        with Ensemble(models=(plain, other)).open(Context()) as reward:
            assert (reward.deterministic, reward.buys_labels) == wanted


def test_what_names_saved_models_says_so() -> None:
    """Protects a study's plan: a reward, an evaluator and a method name their models in one way, also one inside another, and
    where a stage made one its directory and the moments of its scores take its place; other settings and members stay."""
    learned = Learned(path="stage:rm", tokens=7)
    inner = Ensemble(models=(learned, Learned(path="runs/rm")))
    spec, evaluator = Ensemble(models=(inner, Constant(scores=(1.0,)))), HeldOutReward(model=learned)
    warm = Warm(models=("stage:rm", "runs/rm"))
    assert (learned.saved_models(), Function(target="a:b").saved_models()) == (("stage:rm",), ())
    assert spec.saved_models() == warm.saved_models() == ("stage:rm", "runs/rm") and evaluator.saved_models() == (
        "stage:rm",
    )

    def settings_of(path: str) -> dict[str, Any]:
        return {"path": "seed-0/rm", "mean": 0.5, "std": 2.0} if path == "stage:rm" else {}

    placed = Learned(path="seed-0/rm", mean=0.5, std=2.0, tokens=7)
    assert evaluator.with_saved_models(settings_of) == HeldOutReward(model=placed)
    assert spec.with_saved_models(settings_of).models[0].models == (placed, Learned(path="runs/rm"))
    assert warm.with_saved_models(settings_of).models == ("seed-0/rm", "runs/rm")
    assert (learned.buys_labels, inner.buys_labels, spec.buys_labels) == (False, False, True)


def test_saved_models(tmp_path: Path) -> None:
    """Protects the usual case: members by path or by spec, each normalised by its own moments, each charged its own pass."""
    shape = TinyShape(width=16, inner=16, layers=1, heads=2, context=32, words=("add",))
    paths = [str(tmp_path / str(seed)) for seed in range(2)]
    for seed, path in enumerate(paths):
        make_reward_model(load_model(ModelSpec(name="tiny", tiny=shape), seed=0), seed=seed).save(Path(path))
    alone = []
    for path, moments in ((paths[0], {}), (paths[1], {"mean": 0.5, "std": 0.1})):
        with Learned.model_validate({"path": path, **moments}).open(Context()) as reward:
            alone.append(reward.score([PROMPT], [Completion("add")])[0])
    second = {"kind": "learned", "path": paths[1], "mean": 0.5, "std": 0.1}
    spec = REWARDS.parse({"kind": "ensemble", "models": [paths[0], second]})
    assert REWARDS.parse(REWARDS.dump(spec)) == spec
    meter = Meter()
    with spec.open(Context(meter=meter)) as reward:
        assert reward.score([PROMPT], [Completion("add")]) == pytest.approx([sum(alone) / 2])
    alone_meter = Meter()
    with Learned(path=paths[0]).open(Context(meter=alone_meter)) as reward:
        reward.score([PROMPT], [Completion("add")])
    assert meter.counts["flops"] == 2 * alone_meter.counts["flops"] > 0 and meter.used("labels") == 0
    with pytest.raises(UserError, match="models"):
        REWARDS.parse({"kind": "ensemble", "models": [paths[0]]})
