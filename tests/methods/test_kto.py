"""KTO: half a weight where it starts, a reference point of the whole batch, and single answers told apart."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.methods.toy import COLOURS, Toy, opened, read, untrained

from preflab.errors import UserError
from preflab.losses.kto import kto_reference_point
from preflab.methods.kto import (
    KTO,
    Labelled,
    add_answers_reference,
    collate_labelled,
    find_partners,
    labelled_terms,
    log_ratios,
    mismatch,
    take_apart,
)
from preflab.models import forward
from preflab.models.lm import LanguageModel
from preflab.train.learner import Optim
from preflab.types import Completion, Preference, Prompt, Rated, Turn

FAST = Optim(learning_rate=5e-3, warmup=0.0)


def labelled(policy: LanguageModel) -> Labelled:
    return collate_labelled(take_apart(Toy().preferences("train")), policy, limit=8)


def test_step_0(tmp_path: Path) -> None:
    """Protects the reference: before any update no log-ratio has moved, z0 is 0 and each term half its weight: 8 answers of
    1.2 and 8 of .8 in one batch, .5 on average."""
    with opened(tmp_path, untrained(), token_budget=13) as parts:
        KTO(epochs=2, batch_size=16, desirable_weight=1.2, undesirable_weight=0.8, optim=FAST).train(parts)
    first, second = read(tmp_path)
    assert first["loss"] == pytest.approx(0.5, abs=1e-5) and first["accuracy"] == 0.5
    assert first["ratio"] == pytest.approx(0, abs=1e-5) and first["reference_point"] == pytest.approx(0, abs=1e-5)
    assert second["loss"] < 0.5 and second["signed_ratio"] > 0


def test_it_learns(tmp_path: Path) -> None:
    """Protects the method end to end: right answers rise over the reference point, wrong ones fall below it."""
    with opened(tmp_path, untrained()) as parts:
        trained = KTO(epochs=12, batch_size=6, beta=0.3, optim=FAST).train(parts)
    assert read(tmp_path)[-1]["accuracy"] == 1.0 and read(tmp_path)[-1]["loss"] < 0.3
    with torch.no_grad():
        logprobs = forward.sequence_logprobs(trained.model, labelled(trained).batch)
    assert (logprobs[:8] > logprobs[8:]).all()


def test_reference_point_is_the_batchs(tmp_path: Path) -> None:
    """Protects z0 from memory's size: whatever the micro-batches, a run's z0, loss and gradient are the same, and z0 does
    leave 0."""
    runs = []
    for budget in (5, 20, 10_000):
        with opened(tmp_path / str(budget), untrained(), token_budget=budget) as parts:
            KTO(epochs=6, batch_size=6, optim=FAST).train(parts)
        runs.append(read(tmp_path / str(budget)))
    assert max(row["reference_point"] for row in runs[0]) > 0.1
    for run in runs[1:]:
        for row, first in zip(run, runs[0], strict=True):
            for name in ("reference_point", "loss", "gradient_norm"):
                assert row[name] == pytest.approx(first[name], abs=1e-3, rel=1e-3)


def test_reference_point_by_hand(tmp_path: Path) -> None:
    """Protects what z0 is the mean of: prompts with their partners' answers, under the policy as it is now, against what the
    reference said of the same."""
    policy = untrained()
    partners = [*range(1, 8), 0, *range(9, 16), 8]
    with opened(tmp_path, policy) as parts:
        others = add_answers_reference(parts, mismatch(labelled(policy), partners, context=policy.context))
        with torch.no_grad():
            before = forward.sequence_logprobs(policy.model, others.batch)
            for parameter in policy.model.parameters():
                parameter.mul_(1.1)
            after = forward.sequence_logprobs(policy.model, others.batch)
        ratios = log_ratios(parts, others)
    torch.testing.assert_close(ratios, after - before, atol=1e-4, rtol=1e-4)
    assert float(kto_reference_point(ratios)) == pytest.approx(max(0.0, float((after - before).mean())), abs=1e-4)
    words = [answer.text for answer in policy.completions(others.batch)]
    assert words[:8] == [*COLOURS[1:], COLOURS[0]]  # the partner's right answer
    assert words[8:] == [*COLOURS[2:], *COLOURS[:2]]  # the partner's wrong one


@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=12), st.randoms(use_true_random=False))
def test_partners_have_other_prompts(names: str, random: Random) -> None:
    """Protects from an answer that is compared with its own prompt's, where a prompt has several pairs."""
    pairs = [
        Preference(Prompt(f"{i}", (Turn("user", name),)), Completion("x"), Completion("y"))
        for i, name in enumerate(names)
    ]
    order = list(range(len(pairs)))
    random.shuffle(order)
    if len(set(names)) == 1:
        with pytest.raises(UserError, match="two or more prompts"):
            find_partners(take_apart(pairs), lambda size: order)
    else:
        partners = find_partners(take_apart(pairs), lambda size: order)
        assert all(row // len(names) == other // len(names) for row, other in enumerate(partners))  # the same label
        assert all(names[row % len(names)] != names[other % len(names)] for row, other in enumerate(partners))


def test_mismatched_answers_fit_the_context() -> None:
    """Protects from a sequence longer than the model: a long answer at a long prompt is cut at the context."""
    policy = untrained()
    prompts = [Prompt("a", (Turn("user", "say " * 10),)), Prompt("b", (Turn("user", "say"),))]
    pairs = [
        Preference(prompts[0], Completion("red"), Completion("blue")),
        Preference(prompts[1], Completion("red " * 12), Completion("blue")),
    ]
    data = collate_labelled(take_apart(pairs), policy, limit=20)
    assert int(data.batch.prompt_lengths[0] + data.batch.completion_lengths[1]) > 20
    others = mismatch(data, [1, 0, 3, 2], context=20)
    assert int(others.lengths.max()) == 20
    assert others.batch.truncated.tolist() == [True, False, False, False]


def test_what_it_costs(tmp_path: Path) -> None:
    """Protects the budget: the reference reads both sets of answers once (2N a token), every update (6N) is preceded by a
    forward pass of its mismatched answers, and a pair is a label."""
    policy = untrained()
    with opened(tmp_path, policy) as parts:
        KTO(epochs=3, batch_size=16, optim=FAST).train(parts)
        counts = parts.run.meter.state_dict()
    tokens = labelled(policy).tokens  # of one length all, so the mismatched are as many
    assert counts["forward_tokens"] == (2 + 3) * tokens and counts["trained_tokens"] == 3 * tokens
    assert counts["labels"] == 8


def test_terms_belong_to_rows() -> None:
    """Protects from a statistic of the rows in a term: permuted answers give permuted terms, given the reference point."""
    policy = untrained()
    data = replace(labelled(policy), reference=torch.linspace(-20, -5, 16))
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    terms = partial(labelled_terms, KTO(sft_coefficient=0.3), policy, torch.tensor(0.4))
    with torch.no_grad():
        torch.testing.assert_close(terms(data.select(order)).terms, terms(data).terms[order])


def test_sft_term_on_desirable_answers_alone() -> None:
    """Protects the SFT term: .3 x -log pi(y) / 2 on the 8 right answers of 2 tokens, nothing on the wrong ones."""
    policy = untrained()
    data, point = labelled(policy), torch.tensor(0.0)
    with torch.no_grad():
        plain = labelled_terms(KTO(), policy, point, data).terms
        added = labelled_terms(KTO(sft_coefficient=0.3), policy, point, data).terms - plain
        logprobs = forward.sequence_logprobs(policy.model, data.batch)
    torch.testing.assert_close(added[:8], -0.3 * logprobs[:8] / 2, atol=1e-5, rtol=1e-5)
    assert added[8:].tolist() == [0.0] * 8


def test_weights_and_beta_are_read() -> None:
    """Protects from an option that nobody reads: a weight scales its own answers alone, beta the log-ratio."""
    policy = untrained()
    data = replace(labelled(policy), reference=torch.full((16,), -9.0))

    def terms(**settings: float) -> torch.Tensor:
        with torch.no_grad():
            return labelled_terms(KTO(**settings), policy, torch.tensor(0.2), data).terms

    plain = terms()
    torch.testing.assert_close(terms(desirable_weight=3.0), torch.cat([3 * plain[:8], plain[8:]]))
    torch.testing.assert_close(terms(undesirable_weight=3.0), torch.cat([plain[:8], 3 * plain[8:]]))
    assert (terms(beta=0.5) != plain).all()


def test_mistakes_of_the_users(tmp_path: Path) -> None:
    """Protects the user: no pairs in one line; `pairs` limits them: 3 pairs are 6 answers in 3 batches of 2."""
    with opened(tmp_path, untrained()) as parts:
        with pytest.raises(UserError, match="no preference pairs"):
            KTO().train(replace(parts, preferences=list))
        KTO(pairs=3, batch_size=2).train(parts)
    assert len(read(tmp_path)) == 3


def test_single_answers_are_learnt_without_pairs(tmp_path: Path) -> None:
    """Protects unpaired data: five prompts liked, the other three disliked, no prompt with both. Every liked answer rises,
    more than any disliked one, and each of the eight costs one label."""
    rated = [
        Rated(pair.prompt, pair.chosen if row < 5 else pair.rejected, row < 5)
        for row, pair in enumerate(Toy().preferences("train"))
    ]
    with opened(tmp_path, untrained(), rated=lambda: rated) as parts:
        before = forward.sequence_logprobs(parts.policy.model, collate_labelled(rated, parts.policy, limit=8).batch)
        trained = KTO(epochs=12, batch_size=4, beta=0.3, optim=FAST).train(parts)
        assert parts.run.meter.used("labels") == 8
    with torch.no_grad():
        after = forward.sequence_logprobs(trained.model, collate_labelled(rated, trained, limit=8).batch)
    rise = after - before
    assert rise[:5].min() > 0 and rise[:5].min() > rise[5:].max()
