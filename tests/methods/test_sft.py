"""SFT: completion tokens only, the end of turn among them, one mean over a batch's tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.methods.toy import Toy, opened, read, untrained

from preflab.batch import collate_demonstrations
from preflab.errors import UserError
from preflab.methods.sft import SFT, nll
from preflab.models import forward
from preflab.sampling.base import Decoding
from preflab.train.learner import Optim

FAST = Optim(learning_rate=1e-2, warmup=0.0)


def test_it_learns_to_answer_and_to_end(tmp_path: Path) -> None:
    """Protects the method end to end: every prompt gets its own answer, greedily, and the answer *ends*: the end-of-turn
    token was in the loss. 6N FLOP a token, prompts included, are charged."""
    policy = untrained()
    toy = Toy()
    with opened(tmp_path, policy) as parts:
        trained = SFT(epochs=30, batch_size=4, optim=FAST).train(parts)
        prompts = [trained.encode_prompt(prompt) for prompt in toy.prompts("test")]
        drawn = parts.sampler.sample(
            trained, prompts, seeds=range(len(prompts)), decoding=Decoding(max_new_tokens=4, temperature=0.0)
        )
        answers = trained.completions(drawn.batch)
        tokens = sum(len(ids) + 2 for ids in prompts)
        assert parts.run.meter.used("compute") == 30 * 6 * trained.size * tokens
    assert answers == [row.completion for row in toy.demonstrations("test")]
    rows = read(tmp_path)
    assert len(rows) == 30 * 2
    assert rows[-1]["loss"] < 0.1 < 5 < rows[0]["loss"]
    assert rows[-1]["learning_rate"] < rows[0]["learning_rate"]  # the schedule spans the run


def test_terms_are_completion_tokens() -> None:
    """Protects the loss: a term for each token of the answer and its end-of-turn token, none for the prompt; a cut answer
    has no end-of-turn token and says so."""
    policy = untrained()
    toy = Toy()
    batch = collate_demonstrations(toy.demonstrations("train"), policy.encode, limit=8)
    terms = nll(policy, batch)
    assert terms.mask is not None and terms.terms.shape == terms.mask.shape == batch.completion_ids.shape
    assert terms.mask.sum() == 2 * 8
    assert batch.completion_ids[:, 1].tolist() == [policy.end_ids[0]] * 8 and not batch.truncated.any()
    torch.testing.assert_close(terms.terms, -forward.token_logprobs(policy.model, batch).logprobs)
    cut = collate_demonstrations(toy.demonstrations("train"), policy.encode, limit=1)
    assert cut.completion_ids.shape == (8, 1) and policy.end_ids[0] not in cut.completion_ids
    assert cut.truncated.all()


def test_logged_loss_is_the_mean_over_tokens(tmp_path: Path) -> None:
    """Protects normalisation through the method: whatever the micro-batches, the first loss is the mean over all tokens."""
    policy = untrained()
    toy = Toy()
    batch = collate_demonstrations(toy.demonstrations("train"), policy.encode, limit=8)
    with torch.no_grad():
        expected = float(nll(policy, batch).terms[batch.mask].mean())
    with opened(tmp_path, policy, token_budget=5) as parts:
        SFT(epochs=1, batch_size=8, optim=FAST).train(parts)
    assert read(tmp_path)[0]["loss"] == pytest.approx(expected, abs=1e-5)


def test_examples_limits_the_data(tmp_path: Path) -> None:
    """Protects from an option that nobody reads: 3 of 8 demonstrations in batches of 2 are 2 steps an epoch."""
    policy = untrained()
    with opened(tmp_path, policy) as parts:
        SFT(epochs=2, batch_size=2, examples=3, optim=FAST).train(parts)
    assert len(read(tmp_path)) == 2 * 2


def test_no_demonstrations(tmp_path: Path) -> None:
    """Protects the user from a traceback on a testbed of preferences alone."""
    policy = untrained()
    toy = Toy()
    toy.demonstrations = lambda split: []
    with opened(tmp_path, policy, testbed=toy) as parts, pytest.raises(UserError, match="no demonstrations"):
        SFT().train(parts)
