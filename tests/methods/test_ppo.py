"""PPO: the convention held from the sample to the loss, the known defects of other libraries absent, and it learns."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from preflab import ops
from preflab.batch import Experience, TokenBatch, collate
from preflab.errors import UserError
from preflab.meter import Meter
from preflab.methods import METHODS, ppo
from preflab.methods.ppo import PPO, KlController
from preflab.methods.shared.rollout import Rollout, score_answers
from preflab.methods.shared.surrogate import actor_terms, make_guard, measure_rollout
from preflab.models import forward
from preflab.models.heads import make_critic, make_reward_model
from preflab.models.reference import Reference, trainable
from preflab.sampling.base import Decoding, Samples
from preflab.train.learner import Learner, Optim
from preflab.train.seeds import Seeds

STEADY = Optim(learning_rate=0.01, warmup=0.0, schedule="constant")
SMALL = PPO(steps=2, rollouts=8, mini_batches=2, decoding=Decoding(max_new_tokens=4), optim=STEADY, critic_optim=STEADY)
END = 1  # the tiny model's end-of-turn token
FINISHED_AND_CUT = collate([[5, 6], [7]], [[10, 11, END], [10, 11, 12]], [False, True])


def small(**fields: Any) -> PPO:
    return SMALL.model_copy(update=fields)


def assessed(
    lm: Any,
    spec: PPO,
    scores: list[float],
    *,
    value: float = 0.0,
    above: float = 0.0,
    batch: TokenBatch = FINISHED_AND_CUT,
) -> Experience:
    """The experience of a rollout whose policy gives each token `above` nats more than the reference, under a critic whose
    value is `value` everywhere."""
    with torch.no_grad():
        logprobs = forward.token_logprobs(lm.model, batch).logprobs
    made = make_critic(lm, seed=0)
    made.head.bias.data.fill_(value)
    kl = KlController(spec.kl_coefficient, None, 1)
    samples = Samples(batch, torch.where(batch.mask, logprobs + above, torch.full_like(logprobs, 99.0)))
    parts: Any = SimpleNamespace(token_budget=64, policy=lm, run=SimpleNamespace(meter=Meter()))
    rollout = Rollout(1, [], samples, [], torch.tensor(scores, dtype=torch.float32))
    return ppo.assess_with_critic(spec, parts, rollout, Reference(lm.model), made, ops.RunningMoments(0.9), kl)


# --- the convention


@pytest.mark.parametrize(
    ("fields", "advantages", "returns"),
    [
        ({"lam": 1.0}, [[1, 1, 1], [0, 0, 0]], [[3, 3, 3], [2, 2, 2]]),
        ({"lam": 0.95}, [[0.9025, 0.95, 1], [0, 0, 0]], [[2.9025, 2.95, 3], [2, 2, 2]]),
        ({"lam": 0.95, "truncated": "score"}, [[0.9025, 0.95, 1]] * 2, [[2.9025, 2.95, 3]] * 2),
    ],
)
def test_a_finished_and_a_truncated_response(
    fields: dict[str, Any], advantages: list[list[float]], returns: list[list[float]], tiny: Callable[..., Any]
) -> None:
    """Values 2 everywhere, scores 3. Finished: deltas 0, 0, 3 + 0 - 2 = 1 (V after the end token is 0), so that
    A = .95^2, .95, 1. Truncated: no score, and V = 2 goes on behind it: deltas 0. By choice it is scored as if finished."""
    experience = assessed(tiny(), small(normalise_advantages=False, **fields), [3, 3], value=2.0)
    torch.testing.assert_close(experience.advantages, torch.tensor(advantages, dtype=torch.float32))
    torch.testing.assert_close(experience.returns, torch.tensor(returns, dtype=torch.float32))


def test_the_score_stands_on_the_end_token(tiny: Callable[..., Any]) -> None:
    """The score 3 comes after the end token itself, the last *counted* one, and not behind it; the KL of .1 nats costs
    .5 x .1 at every token; nothing stands in the padding, whatever lies there. At gamma 0 the returns are the rewards."""
    batch = collate([[5], [6]], [[10, END], [10, 11, 12, END]])
    experience = assessed(tiny(), small(kl_coefficient=0.5, gamma=0.0), [3, 4], above=0.1, batch=batch)
    expected = torch.tensor([[-0.05, 2.95, 0, 0], [-0.05, -0.05, -0.05, 3.95]])
    torch.testing.assert_close(experience.returns, expected, atol=1e-5, rtol=0)
    assert batch.completion_ids[0, 1] == END and batch.completion_ids[1, 3] == END


def test_scores_are_shifted_scaled_and_clipped(tiny: Callable[..., Any]) -> None:
    """(score - bias) x scale, then the clip: (9 - 1) x .5 = 4 -> 3, (-7 - 1) x .5 = -4 -> -3, (2 - 1) x .5 = .5.
    Without a clip any score stays. One token each: the return is the score."""
    batch = collate([[5]] * 3, [[END]] * 3)
    experience = assessed(tiny(), small(reward_bias=1.0, reward_scale=0.5, reward_clip=3.0), [9, -7, 2], batch=batch)
    torch.testing.assert_close(experience.returns, torch.tensor([[3], [-3], [0.5]]), atol=1e-5, rtol=0)
    experience = assessed(tiny(), small(reward_clip=None), [90, -70, 2], batch=batch)
    torch.testing.assert_close(experience.returns, torch.tensor([[90.0], [-70], [2]]), atol=1e-5, rtol=0)


def test_advantages_are_normalised_over_the_whole_rollout(tiny: Callable[..., Any]) -> None:
    """Protects from statistics of a mini-batch, and from counting the padding: mean 0 and standard deviation 1 over all
    counted tokens, 0 in the padding; a mini-batch's own mean is whatever it is, and the loss takes it as it is."""
    lm = tiny()
    batch = collate([[5]] * 4, [[10, END], [10, 11, 12, END], [11, END], [12, 12, 12, 12]])
    experience = assessed(lm, small(truncated="score"), [9, 1, 4, -3], batch=batch)
    kept = experience.advantages[batch.mask].double()
    assert float(kept.mean()) == pytest.approx(0, abs=1e-6) and float(kept.std(correction=0)) == pytest.approx(
        1, abs=1e-5
    )
    assert not experience.advantages[~batch.mask].any()
    half = experience.select([0, 1])
    assert abs(float(half.advantages[half.batch.mask].mean())) > 0.05
    terms = actor_terms(SMALL, lm, half).terms
    torch.testing.assert_close(terms, -half.advantages, atol=1e-5, rtol=0)  # the ratio is 1


@pytest.mark.parametrize("decoding", [{}, {"temperature": 0.6}, {"top_k": 20}, {"top_p": 0.5, "temperature": 1.5}])
def test_the_first_ratio_is_one_and_the_first_kl_zero(
    decoding: dict[str, Any], train: Callable[..., Any], tiny: Callable[..., Any]
) -> None:
    """Protects from a temperature or a top-k that is applied in sampling but not in log-probabilities (or not to old, new
    and reference alike); and from a critic that is not finite at step 0."""
    spec = small(steps=1, mini_batches=1, decoding=Decoding(max_new_tokens=4, **decoding), truncated="score")
    first = train(spec, policy=tiny(ends=70)).metrics[0]
    assert first["policy/ratio"] == pytest.approx(1, abs=1e-5) and first["policy/clipped"] == 0
    for name in ("kl", "kl_k3", "policy/step_kl"):
        assert first[name] == pytest.approx(0, abs=1e-5)
    assert 0 < first["critic/error"] < float("inf")


def test_kl_is_in_nats_summed_over_tokens(tiny: Callable[..., Any]) -> None:
    """.1 nats at each of 2 and 4 tokens: .2 and .4 a response, .3 in the mean: no coefficient, no sign turned, and the
    padding's garbage left out. k3 = exp(-.1) - 1 + .1 at each token: never negative."""
    batch = collate([[5], [6]], [[10, END], [10, 11, 12, END]])
    experience = assessed(tiny(), small(kl_coefficient=7.0, kl_estimator="k2"), [0, 0], above=0.1, batch=batch)
    rollout = Rollout(1, [], Samples(batch, experience.logprobs), [], torch.tensor([5.0, 7.0]))
    measures = measure_rollout(rollout, experience.logprobs, experience.reference_logprobs)
    k3 = 3 * (torch.tensor(-0.1).exp() - 0.9)
    assert measures["kl"] == pytest.approx(0.3, abs=1e-5) and measures["kl_k3"] == pytest.approx(float(k3), abs=1e-5)
    assert (measures["reward"], measures["reward_spread"], measures["length"], measures["truncated"]) == (6, 1, 3, 0)


# --- the switches' own arithmetic


@pytest.mark.parametrize(("kl", "factor"), [(0.2, 1.01), (0.11, 1.005), (0.1, 1.0), (0.09, 0.995), (0.0, 0.99)])
def test_the_adaptive_coefficient(kl: float, factor: float) -> None:
    """Target .1, 50 responses, horizon 1000: the error KL / .1 - 1, clipped to +-.2, moves it by a twentieth of that.
    Without a target it stays."""
    adaptive, fixed = KlController(0.4, 0.1, 1000), KlController(0.4, None, 1000)
    adaptive.update(kl, 50)
    fixed.update(kl, 50)
    assert adaptive.coefficient == pytest.approx(0.4 * factor) and fixed.coefficient == 0.4


def test_predictions_survive_the_values_rescaling(tiny: Callable[..., Any]) -> None:
    """PopArt: the critic's values in the reward's units are to 1e-5 what they were, though its own units changed by a
    factor of five; values and returns come back in the new units. Without normalisation nothing is touched."""
    lm = tiny()
    made, moments = make_critic(lm, seed=0), ops.RunningMoments(0.5)
    made.head.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    made.head.bias.data.fill_(0.3)
    batch = FINISHED_AND_CUT
    moments.update(torch.tensor([[1.0, 3.0]]), torch.ones(1, 2, dtype=torch.bool))
    with torch.no_grad():
        before = moments.restore(forward.values(made, batch))
    returns = torch.tensor([[9.0, -7.0, 2.0], [4.0, 4.0, 1.0]])
    empty = torch.zeros(2, 3)
    experience = Experience(batch, empty, empty, empty, values=before, returns=returns)
    assert (
        ppo.rescale_values(small(normalise_values=False), experience, made, moments) is experience
        and moments.std == 1.0
    )
    scaled = ppo.rescale_values(SMALL, experience, made, moments)
    with torch.no_grad():
        own = forward.values(made, batch)
    assert moments.std > 3
    torch.testing.assert_close(moments.restore(own), before, atol=1e-5, rtol=1e-5)
    assert scaled.values is not None and scaled.returns is not None
    torch.testing.assert_close(scaled.values, own, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scaled.returns, (returns - moments.mean) / moments.std)


def orders(train: Callable[..., Any], spec: PPO, monkeypatch: pytest.MonkeyPatch) -> list[list[list[int]]]:
    """The mini-batches of each step."""
    steps: list[list[list[int]]] = []
    cut = ppo.cut_mini_batches

    def watched(*args: Any, **kwargs: Any) -> Any:
        parts = list(cut(*args, **kwargs))
        steps.append([rows for rows, _ in parts])
        return parts

    monkeypatch.setattr(ppo, "cut_mini_batches", watched)
    train(spec)
    return steps


def test_mini_batches_are_shuffled(train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects from rows taken in order, and from rows lost or seen twice: 10 rows in 4 mini-batches of 2 or 3, all rows
    once an epoch, in another order every epoch and every step."""
    steps = orders(train, small(rollouts=10, mini_batches=4, epochs=2), monkeypatch)
    assert [[len(rows) for rows in step] for step in steps] == [[2, 3, 2, 3] * 2] * 2
    epochs = [[row for rows in step[half : half + 4] for row in rows] for step in steps for half in (0, 4)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in [*epochs, list(range(10))]}) == 5


def test_fewer_rows_than_mini_batches(train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """3 rollouts in 8 mini-batches are 3 of one row each, and none is empty."""
    assert [len(rows) for rows in orders(train, small(rollouts=3, mini_batches=8, steps=1), monkeypatch)[0]] == [
        1,
        1,
        1,
    ]


@pytest.mark.parametrize("rollouts", [5, 8, 20])
def test_every_step_has_its_rollouts(rollouts: int, train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the batch size: 8 prompts are passed over in shuffled passes; no step is short at a pass's end, or where it
    asks for more than there are. After 40 answers each prompt was asked 5 times."""
    prompt_ids: list[str] = []

    def watched(parts: Any, prompts: Any, completions: Any, **naming: Any) -> list[float]:
        assert len(prompts) == rollouts
        prompt_ids.extend(prompt.id for prompt in prompts)
        return score_answers(parts, prompts, completions, **naming)

    monkeypatch.setattr("preflab.methods.shared.rollout.score_answers", watched)
    train(small(rollouts=rollouts, steps=40 // rollouts), prompts=8)
    assert len(prompt_ids) == 40 and all(prompt_ids.count(name) == 5 for name in set(prompt_ids))
    assert all(len(set(prompt_ids[start : start + 8])) == 8 for start in range(0, 40, 8))


def guarded(lm: Any, old: Tensor, guard: float | None) -> tuple[Learner, dict[str, float]]:
    """One actor update on two rows (2 and 4 tokens) whose old log-probabilities are the policy's own plus `old`."""
    batch = collate([[5], [6]], [[10, END], [10, 11, 12, END]])
    experience = assessed(lm, small(truncated="score"), [1, 2], batch=batch)
    experience = Experience(
        **{**vars(experience), "logprobs": torch.where(batch.mask, experience.reference_logprobs, 0) + old}
    )
    learner = Learner(lm.model, STEADY, token_budget=64, meter=SimpleNamespace(trained=lambda *_: None))  # type: ignore[arg-type]  # all that is asked of it
    terms = partial(actor_terms, SMALL, lm)
    return learner, learner.step(experience, terms, count=6, progress=0.5, guard=make_guard(guard))


def test_the_guard_skips_a_mini_batch_that_went_too_far(tiny: Callable[..., Any]) -> None:
    """Ratios e^3 = 20 everywhere exceed 5: no weight, no moment and no schedule moves, and the skip is counted. Even where
    the ratio overflows. Without a guard the same batch is learnt."""
    for far, guard, skipped in ((-3.0, 5.0, 1), (-200.0, 5.0, 1), (-3.0, None, 0)):
        lm = tiny()
        before = {name: part.detach().clone() for name, part in trainable(lm.model).items()}
        learner, stats = guarded(lm, torch.full((2, 4), far), guard)
        assert learner.skipped == skipped
        unmoved = all(torch.equal(part, before[name]) for name, part in trainable(lm.model).items())
        assert unmoved == bool(skipped) and (learner.position == 0) == bool(skipped)
        assert bool(learner.optimizer.state) != bool(skipped) and ("learning_rate" in stats) != bool(skipped)


def test_the_guard_looks_at_the_masked_mean(tiny: Callable[..., Any]) -> None:
    """One token of six at ratio 20 gives the mean (20 + 5) / 6 = 4.2 < 5: learnt, though its maximum is far above; a
    ratio of e^90 in the padding is not looked at. Two such tokens, (40 + 4) / 6 = 7.4: skipped."""
    one, two = torch.zeros(2, 4), torch.zeros(2, 4)
    one[0, 3] = two[0, 3] = -90.0  # padding
    one[1, 0] = two[1, 0] = two[1, 1] = -3.0
    learner, stats = guarded(tiny(), one, 5.0)
    assert learner.skipped == 0 and stats["ratio"] == pytest.approx((20.0855 + 5) / 6, rel=1e-3)
    learner, stats = guarded(tiny(), two, 5.0)
    assert learner.skipped == 1 and stats["ratio"] == pytest.approx((2 * 20.0855 + 4) / 6, rel=1e-3)


def test_skips_are_counted(train: Callable[..., Any]) -> None:
    """Two steps of 2 mini-batches, all skipped: 2, then 4."""
    assert [record["skipped"] for record in train(small(ratio_guard=0.5)).metrics] == [2, 4]


def test_critic_warm_up(train: Callable[..., Any], tiny: Callable[..., Any]) -> None:
    """For two steps the critic learns alone: nothing of the policy is logged or moved, so that its KL stays 0; the
    policy's schedule waits too. Of the six updates of a run of three steps, the policy makes the last two, which move its
    schedule by 1/6 each; the critic's last update is in the middle of the sixth part, at 11/12."""
    policy = tiny()
    trained = train(small(steps=3, critic_warmup=2), policy=policy)
    assert ["policy/loss" in record for record in trained.metrics] == [False, False, True]
    assert all("critic/loss" in record for record in trained.metrics)
    assert [record["kl"] for record in trained.metrics] == [pytest.approx(0, abs=1e-5)] * 3
    actor, value = trained.learners
    assert actor.position == pytest.approx(1 / 3) and value.position == pytest.approx(11 / 12)


def test_critic_from_the_reward_models_weights(train: Callable[..., Any], tiny: Callable[..., Any]) -> None:
    """The critic starts as a copy of the reward model's backbone; refused where there is none, or where it reads other
    ids than the policy writes."""
    scorer = make_reward_model(tiny(seed=7), seed=0)
    spec = small(critic_from="reward", steps=1)
    run: Any = SimpleNamespace(seeds=Seeds(0))
    made = ppo.open_critic(spec, SimpleNamespace(policy=tiny(), reward_model=scorer, run=run))  # type: ignore[arg-type]  # all that is asked of it
    theirs = dict(scorer.model.base_model.named_parameters())
    ours = dict(made.backbone.named_parameters())
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert all(ours[name] is not theirs[name] for name in ours)
    train(spec, reward_model=scorer)
    with pytest.raises(UserError, match="needs a learned reward"):
        train(spec)
    other = make_reward_model(tiny(seed=7), seed=0)
    other.tokenizer.add_tokens(["new"])
    with pytest.raises(UserError, match="different vocabularies"):
        train(spec, reward_model=other)


@pytest.mark.parametrize("lora", [None, 2])
def test_the_reference_follows(
    lora: int | None, train: Callable[..., Any], tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a step: ref = .25 policy + .75 start, once a rollout and not a mini-batch. Under LoRA adapters alone are
    averaged; at eta 0 the reference stays where it was taken."""
    made: list[Reference] = []

    class Watched(Reference):
        def __init__(self, model: Any) -> None:
            super().__init__(model)
            made.append(self)

    monkeypatch.setattr(ppo, "Reference", Watched)
    for rate in (0.25, 0.0):
        policy = tiny(lora=lora)
        start = {name: part.detach().clone() for name, part in trainable(policy.model).items()}
        trained = train(small(steps=1, reference_ema=rate, truncated="score"), policy=policy)
        assert trained.metrics[0]["kl"] == pytest.approx(0, abs=1e-5)
        assert lora is None or all(".lora_" in name for name in start)
        assert made[-1].tensors.keys() == start.keys()
        for name, part in trainable(policy.model).items():
            torch.testing.assert_close(made[-1].tensors[name], rate * part.detach() + (1 - rate) * start[name])


# --- bad input


def test_what_ppo_refuses(train: Callable[..., Any]) -> None:
    """Greedy decoding, no reward, no prompts; and numbers that mean nothing."""
    with pytest.raises(UserError, match="temperature must be above 0"):
        train(small(decoding=Decoding(temperature=0)))
    with pytest.raises(UserError, match="Name a reward"):
        train(SMALL, reward=None)
    with pytest.raises(UserError, match="no prompts"):
        train(SMALL, prompts=0)
    for field, value in (("mini_batches", 0), ("rollouts", 0), ("reference_ema", 1.5), ("clip", 0), ("value_decay", 1)):
        with pytest.raises(UserError, match=field):
            METHODS.parse({"kind": "ppo", field: value})
