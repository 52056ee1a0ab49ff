"""Expert iteration: right answers alone, distinct and capped; each round from the start or going on; rounds that resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.methods.rolled import STEADY
from tests.methods.toy import Scored, opened, read, untrained

from preflab.errors import UserError
from preflab.methods import expert_iteration
from preflab.methods.expert_iteration import ExpertIteration, keep_right, open_answer_rounds, start_again
from preflab.methods.sft import SFT
from preflab.models.reference import Reference, trainable
from preflab.sampling.base import Decoding
from preflab.train.learner import Learner
from preflab.types import Completion

SMALL = ExpertIteration(
    rounds=2, samples=6, right=1.0, decoding=Decoding(max_new_tokens=3), epochs=2, batch_size=8, optim=STEADY
)


def small(**fields: Any) -> ExpertIteration:
    return ExpertIteration.model_validate({**SMALL.model_dump(), **fields})


def green(text: str) -> float:
    return float(text.startswith("g"))


def test_right_answers_are_distinct_and_capped() -> None:
    """Scores 1, 0, 1, 1, 2 of a, b, a, c, d at right = 1: a (once), c, d; two at most: a, c. A truncated answer is another
    than the finished one of the same text. Exactly `right` is right."""
    texts = [Completion(text) for text in "abacd"]
    assert keep_right(texts, [1, 0, 1, 1, 2], 1.0, 9) == [texts[0], texts[3], texts[4]]
    assert keep_right(texts, [1, 0, 1, 1, 2], 1.0, 2) == [texts[0], texts[3]]
    both = [Completion("a"), Completion("a", truncated=True)]
    assert keep_right(both, [1, 1], 1.0, 9) == both


@pytest.fixture
def start(tmp_path: Path) -> Any:
    """A policy that answers some colour, of which two in eight begin with g."""
    with opened(tmp_path / "sft", untrained()) as parts:
        return SFT(epochs=6, batch_size=4, optim=STEADY).train(parts)


@pytest.mark.parametrize("restart", [True, False])
def test_rounds_climb(restart: bool, start: Any, tmp_path: Path) -> None:
    """Protects the method end to end: the second round's samples are better than the first's, whether each round learns
    from the start or goes on; a round's data are right answers alone, no more than `most` a prompt."""
    reward = Scored(green)
    with opened(tmp_path / "run", start, reward=reward) as parts:
        small(restart=restart, rounds=3, epochs=4, most=2).train(parts)
    assert len(reward.means) == 3 and reward.means[-1] > reward.means[0] + 0.2
    for number in range(3):
        drawn = json.loads((tmp_path / f"run/journal/round-{number:04d}.json").read_text())["value"]["answers"]
        assert all(green(text) for _, text, *_ in drawn)
        names = [name for name, *_ in drawn]
        assert names and max(names.count(name) for name in names) <= 2
    rows = read(tmp_path / "run")
    assert [row["round"] for row in rows] == sorted(row["round"] for row in rows)
    assert rows[-1]["progress"] == 1.0


def test_a_restart_is_the_start(start: Any, tmp_path: Path) -> None:
    """Protects ReST-EM's M-step: weights, Adam and schedule are those of the first round's beginning, so that two restarts
    on one batch learn the same."""
    with opened(tmp_path / "run", start, reward=Scored(green)) as parts:
        learner, origin = parts.learner(start.model, STEADY), Reference(start.model)
        rounds = open_answer_rounds(SMALL, parts)
        assert rounds.begin() and rounds.data is not None
        starts = []
        for _ in range(2):
            start_again(learner, origin)
            assert not learner.optimizer.state and learner.position == 0
            for share in (0.0, 0.5):
                loss = lambda rows: expert_iteration.nll(start, rows)  # noqa: E731 - a name for one line of the test
                learner.step(rounds.data, loss, count=10.0, progress=share)
            starts.append({name: part.detach().clone() for name, part in trainable(start.model).items()})
    assert all(torch.equal(part, starts[1][name]) for name, part in starts[0].items())
    assert any(not torch.equal(part, origin.tensors[name]) for name, part in starts[0].items())


def schedules(restart: bool, start: Any, directory: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The progress that each update was told."""
    steps: list[float] = []
    step = Learner.step

    def watched(self: Learner, batch: Any, loss: Any, *, count: float, progress: float, **rest: Any) -> Any:
        steps.append(round(progress, 3))
        return step(self, batch, loss, count=count, progress=progress, **rest)

    monkeypatch.setattr(Learner, "step", watched)
    with opened(directory, start, reward=Scored(green)) as parts:
        small(restart=restart, epochs=1, batch_size=100).train(parts)
    monkeypatch.undo()
    return steps


def test_a_restarted_round_has_a_schedule_of_its_own(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the last round from beginning at the start with the learning rate of the run's end: each round of one
    update has its middle, 1/2, where rounds that go on have the middles of the run's halves, 1/4 and 3/4."""
    assert schedules(False, start, tmp_path / "on", monkeypatch) == [0.25, 0.75]
    assert schedules(True, start, tmp_path / "again", monkeypatch) == [0.5, 0.5]


def test_prompts_a_round(start: Any, tmp_path: Path) -> None:
    """Protects `prompts`: 3 a round, of a shuffled pass over all 8."""
    reward = Scored(lambda text: 1.0)
    with opened(tmp_path / "run", start, reward=reward) as parts:
        small(prompts=3, samples=1).train(parts)
    names = [
        [
            row[0]
            for row in json.loads((tmp_path / f"run/journal/round-000{number}.json").read_text())["value"]["answers"]
        ]
        for number in range(2)
    ]
    assert [len(round_names) for round_names in names] == [3, 3] and not set(names[0]) & set(names[1])


def test_nothing_right_ever(tmp_path: Path) -> None:
    """Protects the user from an arm that did nothing and looks trained."""
    reward = Scored(lambda text: 0.0)
    with (
        opened(tmp_path, untrained(), reward=reward) as parts,
        pytest.raises(UserError, match="2 rounds of samples gave no right answer: no answer scores 1"),
    ):
        SMALL.train(parts)
    assert len(reward.means) == 2


def test_greedy_samples_are_refused(tmp_path: Path) -> None:
    """Several greedy samples are one."""
    with (
        opened(tmp_path, untrained(), reward=Scored(green)) as parts,
        pytest.raises(UserError, match="temperature must be above 0"),
    ):
        small(decoding={"temperature": 0.0}).train(parts)


def test_updates_are_counted_over_all_rounds(tmp_path: Path) -> None:
    """Protects the count in the report: each round begins with an Adam without moments, and does not begin to count."""
    reward = Scored(lambda text: 1.0)
    with opened(tmp_path, untrained(), reward=reward) as parts:
        ExpertIteration(
            rounds=3, prompts=4, samples=2, right=1, epochs=1, batch_size=2, decoding=Decoding(max_new_tokens=4)
        ).train(parts)
    records = read(tmp_path)
    assert {record["round"] for record in records} == {0, 1, 2}
    assert [record["updates"] for record in records if "loss" in record] == list(range(1, records[-1]["updates"] + 1))
