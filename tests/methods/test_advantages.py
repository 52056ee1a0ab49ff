"""What an answer is measured against, how a loss is averaged, and how rollouts are cut and joined: the pure parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.methods.rolled import SHORT, STEADY, rolled, rows
from tests.methods.toy import Scored, Toy, opened, untrained

from preflab import ops
from preflab.batch import Experience, KeptTokens, collate
from preflab.errors import UserError
from preflab.meter import Meter
from preflab.methods import METHODS
from preflab.methods.shared import advantage
from preflab.methods.shared.rollout import Rollout
from preflab.models.load import load_model
from preflab.models.spec import ModelSpec, TinyShape
from preflab.train.learner import Learner
from preflab.train.settings import Budget

SCORES = st.lists(st.floats(-10, 10, width=32), min_size=3, max_size=3)

# --- advantages


def test_group_relative() -> None:
    """Group 1, scores 1 and 3: mean 2, sample std sqrt(((1-2)^2 + (3-2)^2) / 1) = sqrt 2 = 1.4142: -+1 / (1.4142 + 1e-4) =
    -+.7071 (to 4 digits .7071). Group 2, scores 5 and 5: 0. Without the std the differences -1, 1, 0, 0."""
    scores = torch.tensor([1.0, 3.0, 5.0, 5.0])
    assert rows(ops.group_relative(scores, 2, normalise=True)[None]) == [[-0.7071, 0.7071, 0, 0]]
    assert ops.group_relative(scores, 2, normalise=False).tolist() == [-1, 1, 0, 0]


@given(st.floats(-100, 100, width=32), st.integers(2, 9))
def test_equal_scores_are_exactly_no_advantage(score: float, group: int) -> None:
    """Protects from rounding that the division by a std of nothing blows up to advantages of order one."""
    advantages = ops.group_relative(torch.full((group,), score), group, normalise=True)
    assert float(advantages.abs().max()) < 1e-6


def test_leave_one_out() -> None:
    """Scores 1, 2, 6: the others' means are 4, 3.5 and 1.5, the advantages -3, -1.5 and 4.5: n/(n-1) = 1.5 times the
    distances -2, -1 and 3 from the mean."""
    assert ops.leave_one_out(torch.tensor([1.0, 2.0, 6.0]), 3).tolist() == [-3, -1.5, 4.5]


@given(SCORES, SCORES)
def test_groups_do_not_see_each_other(first: list[float], second: list[float]) -> None:
    """Protects from statistics over the wrong axis: a group's advantages are the same whoever stands beside it, and their
    sum is 0."""
    for centred in (
        lambda scores: ops.leave_one_out(scores, 3),
        lambda scores: ops.group_relative(scores, 3, normalise=True),
        lambda scores: ops.group_relative(scores, 3, normalise=False),
    ):
        both, alone = centred(torch.tensor([*first, *second])), centred(torch.tensor(first))
        torch.testing.assert_close(both[:3], alone)
        assert abs(float(alone.sum())) < 1e-4


def test_returns_to_go() -> None:
    """Rewards 1, 2, 4: 7, 6, 4; of the second row, two tokens long, 1 + 2 = 3 and 2, what stands in the padding is not
    looked at."""
    mask = torch.tensor([[True, True, True], [True, True, False]])
    returns = ops.returns_to_go(torch.tensor([[1.0, 2.0, 4.0], [1.0, 2.0, 99.0]]), mask)
    assert returns.tolist() == [[7, 6, 4], [3, 2, 0]]


def test_overlong() -> None:
    """The last 4 of 10 tokens: 6 tokens reach 0, 7 a quarter, 10 all of it; 2 none."""
    reach = ops.overlong(torch.tensor([2, 6, 7, 10]), limit=10, window=4)
    assert reach.tolist() == [0, 0, 0.25, 1]


# --- the loss's average


def test_average_weights() -> None:
    """Terms of 1 and 4 tokens, all 1 in the first row and 2 in the second: sums 1 and 8, M = 2.5.
    token: 9 / 5 = 1.8. sequence: (1 + 2) / 2 = 1.5. constant, limit 8: 9 / (2 x 8) = .5625."""
    lengths, terms = torch.tensor([1, 4]), torch.tensor([[1.0, 0, 0, 0], [2, 2, 2, 2]])
    averages: tuple[ops.LossAverage, ...] = ("token", "sequence", "constant")
    means = [
        float((ops.average_weights(lengths, average, mean_length=2.5, limit=8)[:, None] * terms).sum() / 5)
        for average in averages
    ]
    assert means == pytest.approx([1.8, 1.5, 0.5625])


SHAPE = TinyShape(width=8, inner=8, layers=1, heads=2, context=32, words=("a", "b"))


def gradients(average: ops.LossAverage, lengths: list[int], token_budget: int) -> tuple[list[torch.Tensor], float]:
    """The gradient that one update leaves in its first moment, and the loss."""
    torch.set_num_threads(1)
    lm = load_model(ModelSpec(name="tiny", tiny=SHAPE), seed=0)
    batch = collate([[5] * (1 + row % 3) for row in range(len(lengths))], [[9] * size for size in lengths])
    grid = torch.linspace(-1, 1, batch.completion_ids.numel()).view(batch.completion_ids.shape)
    experience = Experience(batch, grid - 3, grid - 4, grid)
    spec = METHODS.parse({"kind": "reinforce++", "loss_average": average, "decoding": SHORT})
    learner = Learner(lm.model, STEADY.model_copy(update={"clip_norm": 0.0}), token_budget=token_budget, meter=Meter())
    tokens = float(sum(lengths))
    stats = learner.step(
        experience,
        lambda part: advantage.weigh_terms(spec, lm, tokens / len(lengths), 0.1, part),
        count=tokens,
        progress=0.5,
    )
    return [learner.optimizer.state[part]["exp_avg"] for part in learner.parameters.values()], stats["loss"]


@pytest.mark.parametrize("average", ["token", "sequence", "constant"])
@settings(max_examples=15)
@given(lengths=st.lists(st.integers(1, 4), min_size=2, max_size=5), budget=st.integers(1, 12))
def test_micro_batches_change_no_average(average: ops.LossAverage, lengths: list[int], budget: int) -> None:
    """Protects the average from being taken a micro-batch at a time: however the rows are cut, gradient and loss are the
    same, for every kind of average and answers of any lengths."""
    whole, loss = gradients(average, lengths, 10_000)
    cut, cut_loss = gradients(average, lengths, budget)
    assert cut_loss == pytest.approx(loss, rel=1e-4, abs=1e-6)
    for ours, theirs in zip(cut, whole, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)


# --- rollouts


def test_which_groups_tell_something() -> None:
    """Scores 1 1, 1 2, 3 3: the second group alone; two of three have no variance. Where each prompt has one answer, the
    rollout is one group."""
    rollout = rolled([1, 1, 1, 2, 3, 3], group=2)
    assert rollout.differing().tolist() == [False, True, False]
    assert rollout.share_without_variance() == pytest.approx(2 / 3)
    assert [rolled(scores).share_without_variance() for scores in ([1, 1], [1, 2])] == [1, 0]


def test_rollouts_are_joined_and_cut_by_their_groups() -> None:
    """Protects dynamic sampling: prompts stay padded on the left, answers and the kept ids on the right, whatever the
    widths; what is cut out of the whole is what went into it."""
    first = rolled([1, 2, 3, 4], group=2, batch=collate([[1, 2, 3], [1, 2, 3], [4], [4]], [[5], [6, 7], [8], [9]]))
    second = rolled([5, 6], group=2, batch=collate([[2], [2]], [[1, 2, 3, 4], [5]]))
    for rollout, width in ((first, 2), (second, 3)):
        steps = rollout.batch.completion_ids.shape
        kept = KeptTokens(torch.ones(*steps, width, dtype=torch.int32), torch.full(steps, width))
        object.__setattr__(rollout.samples, "kept", kept)
    whole = Rollout.join([first, second])
    assert whole.batch.prompt_ids.tolist() == [[1, 2, 3], [1, 2, 3], [0, 0, 4], [0, 0, 4], [0, 0, 2], [0, 0, 2]]
    assert whole.batch.completion_ids.tolist()[4:] == [[1, 2, 3, 4], [5, 0, 0, 0]]
    assert whole.samples.kept is not None and whole.samples.kept.ids.shape == (6, 4, 3)
    assert whole.samples.kept.counts[:, 0].tolist() == [2, 2, 2, 2, 3, 3]
    again = whole.select([2, 0])
    assert again.scores.tolist() == [5, 6, 1, 2] and [prompt.id for prompt in again.prompts] == ["p0"] * 4
    part = whole.select([2])
    for name in ("prompt_ids", "completion_ids", "prompt_lengths", "completion_lengths", "truncated"):
        assert torch.equal(getattr(part.batch, name), getattr(second.batch, name)), name


def test_groups_are_whole() -> None:
    """Protects from a last group that is cut short: `group` must divide `rollouts`, and is refused where it is read."""
    for kind in ("grpo", "rloo", "raft"):
        with pytest.raises(UserError, match="is not a multiple of `group`"):
            METHODS.parse({"kind": kind, "rollouts": 10, "group": 4})
        with pytest.raises(UserError, match="group"):
            METHODS.parse({"kind": kind, "rollouts": 10, "group": 1})


@pytest.mark.parametrize(("amount", "shares"), [(8, [0, 0.5, 1]), (11, [0, 0.5, 1]), (100, [0, 0.1, 0.2])])
def test_the_share_of_a_labels_budget(amount: int, shares: list[float], tmp_path: Any) -> None:
    """4 labels a prompt, one prompt a step, ten steps: 8 labels and 11 are two steps, and 100 bind nothing. A budget that
    does not pay for one prompt is refused before anything is bought."""
    reward = Scored(len)
    budget = Budget(unit="labels", amount=amount)
    with opened(tmp_path, untrained(), budget=budget, reward=reward, testbed=Toy()) as parts:
        share, progress = parts.run.labels.share_of(10, reward=reward, price=4), []
        for step in range(3):
            progress.append(share(step))
            parts.run.meter.labelled(4)
        assert progress == pytest.approx(shares)
    with (
        opened(tmp_path / "b", untrained(), budget=Budget(unit="labels", amount=3), reward=reward) as parts,
        pytest.raises(UserError, match="does not pay for one prompt's 4 scores"),
    ):
        parts.run.labels.share_of(10, reward=reward, price=4)


# --- the loop that the four share

KINDS = ["grpo", "rloo", "reinforce++", "remax"]
COMMON = {"steps": 2, "rollouts": 8, "mini_batches": 2, "decoding": SHORT, "optim": STEADY}


def small(kind: str, **fields: Any) -> Any:
    group = {} if kind in ("reinforce++", "remax") else {"group": 2}
    return METHODS.parse({"kind": kind, **COMMON, **group, **fields})


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_ratio_is_one(kind: str, train: Callable[..., Any], tiny: Callable[..., Any]) -> None:
    """Protects old, new and reference log-probabilities from parting: before any update ratio 1 and KL 0, also under top-k
    and another temperature."""
    decoding = SHORT.model_copy(update={"top_k": 20, "temperature": 0.7})
    first = train(small(kind, mini_batches=1, decoding=decoding), policy=tiny(ends=70)).metrics[0]
    assert first["policy/ratio"] == pytest.approx(1, abs=1e-5) and first["policy/clipped"] == 0
    assert first["kl"] == pytest.approx(0, abs=1e-5) and 0 <= first["no_variance"] <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_answers_can_be_ignored(
    kind: str, train: Callable[..., Any], tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects `truncated`: scored like any other by default; ignored, such an answer has advantage 0 and others keep
    theirs."""
    experiences: list[Experience] = []
    assess = advantage.assess_rollout
    monkeypatch.setattr(advantage, "assess_rollout", lambda *args: experiences.append(assess(*args)) or experiences[-1])
    for choice in ("score", "ignore"):
        train(small(kind, steps=1, truncated=choice), policy=tiny(ends=70))
    cut = experiences[0].batch.truncated
    assert 0 < int(cut.sum()) < len(cut)
    assert experiences[0].advantages[cut].abs().sum() > 0 and not experiences[1].advantages[cut].any()
    assert torch.equal(experiences[0].advantages[~cut], experiences[1].advantages[~cut])


@pytest.mark.parametrize("kind", KINDS)
def test_the_guard_and_the_reference(kind: str, train: Callable[..., Any]) -> None:
    """Protects the shared switches: a guard below any ratio skips every mini-batch, which is counted; a reference that
    follows at rate 1 is the policy itself at the next step's start, so that its KL is 0 again."""
    assert [record["skipped"] for record in train(small(kind, ratio_guard=0.5)).metrics] == [2, 4]
    still, following = (train(small(kind, reference_ema=rate)).metrics for rate in (0.0, 1.0))
    assert still[0]["policy/loss"] == following[0]["policy/loss"]
    assert abs(still[1]["kl_k3"]) > 1e-4 and following[1]["kl_k3"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_what_they_refuse(kind: str, train: Callable[..., Any]) -> None:
    """Greedy decoding, no reward, no prompts."""
    with pytest.raises(UserError, match="temperature must be above 0"):
        train(small(kind, decoding={"temperature": 0}))
    with pytest.raises(UserError, match="Name a reward"):
        train(small(kind), reward=None)
    with pytest.raises(UserError, match="no prompts"):
        train(small(kind), prompts=0)
