"""Online DPO: each step's pairs are the current policy's, the reference stays or follows, and the reward climbs."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.methods.toy import Scored, opened, read, untrained

from preflab.errors import UserError
from preflab.methods.online_dpo import OnlineDPO
from preflab.methods.pairs import PairDraw
from preflab.methods.sft import SFT
from preflab.sampling.base import Decoding
from preflab.train import faults
from preflab.train.learner import Optim
from preflab.train.settings import Budget

FAST = Optim(learning_rate=1e-2, warmup=0.0, schedule="constant")
DRAW = PairDraw(samples=2, rule="best-worst", decoding=Decoding(max_new_tokens=3))
SPEC = OnlineDPO(steps=3, prompts=8, draw=DRAW, batch_size=4, optim=FAST)


def length(text: str) -> float:
    return float(len(text))


def changed(**fields: Any) -> OnlineDPO:
    return SPEC.model_copy(update=fields)


def test_it_climbs_the_reward(tmp_path: Path) -> None:
    """Protects the method end to end, from a policy that answers some colour: what the reward likes becomes more."""
    with opened(tmp_path / "sft", untrained()) as parts:
        start = SFT(epochs=6, batch_size=4, optim=FAST).train(parts)
    reward = Scored(lambda text: float(text.startswith("g")))
    with opened(tmp_path / "online", start, reward=reward) as parts:
        changed(steps=25, draw=DRAW.model_copy(update={"samples": 6})).train(parts)
    assert len(reward.means) == 25
    assert sum(reward.means[-5:]) / 5 > sum(reward.means[:5]) / 5 + 0.25


@pytest.mark.parametrize("ema", [0.0, 1.0])
def test_reference(tmp_path: Path, ema: float) -> None:
    """Protects the reference: the first update is at ln 2 exactly; afterwards the starting policy stays, so that later
    losses differ, unless the reference follows the policy all the way: then every step begins at ln 2."""
    with opened(tmp_path, untrained(), reward=Scored(length)) as parts:
        changed(batch_size=8, reference_ema=ema).train(parts)
    losses = [row["loss"] for row in read(tmp_path)]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5)
    for loss in losses[1:]:
        assert (abs(loss - math.log(2)) < 1e-5) == (ema == 1.0)


def test_steps_draw_anew(tmp_path: Path) -> None:
    """Protects on-policy data: a step's samples are the step's own, and each step's updates are a mini-batch each."""
    with opened(tmp_path, untrained(), reward=Scored(length)) as parts:
        changed(optim=Optim(learning_rate=0.0)).train(parts)
        samples = [line for line in (tmp_path / "samples.jsonl").read_text().splitlines() if line]
    texts = {step: [line.split('"text"')[1] for line in samples if f'"step": {step},' in line] for step in (1, 2, 3)}
    assert texts[1] and texts[1] != texts[2] != texts[3]


def test_an_update_for_every_mini_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects `batch_size` and the order: 8 pairs by 3 are updates of 3, 3 and 2 pairs, each pair once."""
    counts: list[float] = []
    with opened(tmp_path, untrained(), reward=Scored(length)) as parts:
        learner = parts.learner(parts.policy.model, FAST)
        step = learner.step

        def noted(batch: Any, *args: Any, count: float, **kwargs: Any) -> dict[str, float]:
            counts.append(count)
            return step(batch, *args, count=count, **kwargs)

        monkeypatch.setattr(learner, "step", noted)
        monkeypatch.setattr(type(parts), "learner", lambda *_: learner)
        changed(steps=1, batch_size=3, draw=DRAW.model_copy(update={"samples": 6})).train(parts)
    assert read(tmp_path)[0]["pairs"] == 8 and counts == [3, 3, 2]


def test_a_step_without_pairs_goes_on(tmp_path: Path) -> None:
    """Protects a policy that has become right everywhere: such a step is logged without an update."""
    reward = Scored(lambda text: length(text) if len(reward.means) != 1 else 7.0)
    with opened(tmp_path, untrained(), reward=reward) as parts:
        SPEC.train(parts)
    rows = read(tmp_path)
    assert rows[0]["pairs"] > 0 and rows[1]["pairs"] == 0 and rows[2]["pairs"] > 0
    assert "loss" not in rows[1] and "loss" in rows[2] and rows[2]["progress"] == 1.0


def test_no_pair_ever(tmp_path: Path) -> None:
    """Protects the user from an arm that did nothing and looks trained."""
    with (
        opened(tmp_path, untrained(), reward=Scored(lambda text: 1.0)) as parts,
        pytest.raises(UserError, match="had anything to learn from"),
    ):
        SPEC.train(parts)


@pytest.mark.parametrize("draw", [{"samples": 1}, {"decoding": Decoding(temperature=0.0)}])
def test_what_cannot_give_a_pair_is_refused(draw: dict[str, Any]) -> None:
    """Protects the user: one sample, or the same one twice, never makes a pair."""
    with pytest.raises(UserError, match=r"draw\.samples to 2 or more, and draw\.decoding\.temperature above 0"):
        OnlineDPO(draw=PairDraw(**{"samples": 2, **draw}))


def test_reference_free_asks_no_reference(tmp_path: Path) -> None:
    """Protects the budget: with SimPO nothing but sampling and updates is charged."""
    with opened(tmp_path, untrained(), reward=Scored(length)) as parts:
        changed(loss="simpo").train(parts)
        assert parts.run.meter.state_dict()["forward_tokens"] == 0
    assert "chosen_fall" not in read(tmp_path)[0]


def test_labels_budget(tmp_path: Path) -> None:
    """Protects the budget: steps of 8 prompts x 2 labels under 40 labels are 8 + 8 + 4 prompts."""

    class Labelled(Scored):
        def score(self, prompts: Any, completions: Any) -> list[float]:
            parts.run.meter.labelled(len(completions))
            return super().score(prompts, completions)

    budget = Budget(unit="labels", amount=40)
    with opened(tmp_path, untrained(), budget=budget, reward=Labelled(length)) as parts:
        changed(steps=100).train(parts)
    rows = read(tmp_path)
    assert [row["labels"] for row in rows] == [16, 32, 40] and rows[-1]["progress"] == 1.0


def test_faults_are_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the kill tests: every step passes the rollout's fault points and the update's."""
    passed: list[str] = []
    monkeypatch.setattr(faults, "pass_point", passed.append)
    with opened(tmp_path, untrained(), reward=Scored(length)) as parts:
        changed(steps=2).train(parts)
    step = ["rollout.before", "rollout.after", "update.after", "metrics.written"]
    assert [name for name in passed if name in step] == step * 2


def test_it_goes_on_exactly(train: Callable[..., Any], tmp_path: Path) -> None:
    """Protects resume: a run that dies in its third step goes on to the metrics of one that does not, its following
    reference included."""

    def dying(text: str) -> float:
        calls.append(text)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return length(text)

    calls: list[str] = []
    spec = OnlineDPO(steps=4, prompts=4, draw=DRAW, batch_size=2, reference_ema=0.3, optim=FAST)
    undisturbed = train(spec, reward=length)
    with pytest.raises(KeyboardInterrupt):
        train(spec, reward=dying, directory=tmp_path / "killed", checkpoint_seconds=0.0)
    again = train(spec, reward=length, directory=tmp_path / "killed")
    assert len(calls) == 20 and again.metrics == undisturbed.metrics


def test_a_reference_that_nobody_asks_is_refused() -> None:
    """Protects from an option that moves nothing: SimPO does not use a reference, so that none can follow."""
    with pytest.raises(UserError, match="does not use a reference"):
        OnlineDPO(loss="simpo", reference_ema=0.1)
