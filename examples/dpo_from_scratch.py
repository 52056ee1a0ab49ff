"""Direct preference optimisation (DPO, Rafailov et al. 2023) in one file. Read it from top to bottom.

    python examples/dpo_from_scratch.py               # some fifteen seconds on one core; nothing is downloaded
    python examples/dpo_from_scratch.py --beta 0.1    # keeps the policy less close (--help lists the other options)

The task: a prompt is three digits. Half of the demonstrations repeat the digits and half reverse them, so the SFT model
does both. In the preference pairs, the reversed answer is better. DPO teaches the policy to reverse, without a reward model.

Look at the last number that is printed. The loss depends only on the two answers of a pair. So it can fall even if both become
less likely, and answers in no pair gain probability: with beta .1 they gain most of it (the paper, Section 4.1).

This file leaves out ten other losses (`losses/preference.py`), real data (`testbeds/`), micro-batches, the learning rate's
schedule and bf16 (`train/learner.py`), checkpoints and a compute budget (`train/`), LoRA and models of your own
(`models/`), and evaluators, seeds and intervals (a study). `preflab train dpo` has all of these.
"""

from __future__ import annotations

import itertools
import random
from typing import NamedTuple

import torch
import tyro

from preflab import ops
from preflab.batch import PairBatch, TokenBatch, collate
from preflab.losses.policy import sft_loss
from preflab.losses.preference import PairLogprobs, dpo_loss
from preflab.models import forward
from preflab.models.lm import LanguageModel
from preflab.models.spec import TinyShape
from preflab.models.tiny import make_tiny
from preflab.sampling.base import Decoding
from preflab.sampling.native import Native
from preflab.spec import Context
from preflab.types import Completion, Prompt, Turn

SHAPE = TinyShape(width=32, inner=64, layers=2, heads=4, context=16)  # 35,000 parameters; a digit is one token
UNSEEN = 200  # prompts of the 720; the policy is trained on the others


class Measures(NamedTuple):
    """Measures on the unseen prompts: the mean margin of the pairs (nats), the share of pairs in the right order, and the
    shares of sampled answers that equal the pair's chosen answer, its rejected answer, and neither."""

    margin: float
    accuracy: float
    chosen: float
    rejected: float
    neither: float


def main(
    sft_steps: int = 400,
    steps: int = 60,
    batch_size: int = 64,
    beta: float = 1.0,
    sft_learning_rate: float = 5e-3,
    learning_rate: float = 3e-4,
    seed: int = 0,
) -> tuple[Measures, Measures]:
    """Trains, prints what the policy learned, and returns the measures before and after DPO."""
    # 1. Encode both answers to each prompt, in two batches: row i of each batch belongs to pair i.
    policy = make_tiny(SHAPE, seed=seed)
    prompts = [" ".join(map(str, digits)) for digits in itertools.permutations(range(10), 3)]
    random.Random(seed).shuffle(prompts)
    reversals = encode(policy, prompts, [prompt[::-1] for prompt in prompts])
    pairs = PairBatch(chosen=reversals, rejected=encode(policy, prompts, prompts))
    unseen, seen = pairs.select(range(UNSEEN)), pairs.select(range(UNSEEN, len(pairs)))
    draw = torch.Generator().manual_seed(seed)

    # 2. SFT: -log pi(y_t | x, y_<t), averaged over the batch's tokens. The model learns both answers.
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=sft_learning_rate)
    for step in range(sft_steps):
        demonstrations = seen.chosen if step % 2 else seen.rejected
        batch = demonstrations.select(torch.randint(len(seen), (batch_size,), generator=draw))
        terms = sft_loss(forward.token_logprobs(policy.model, batch).logprobs)
        ops.reduce(terms, batch.mask, count=int(batch.mask.sum())).backward()
        optimizer.step()
        optimizer.zero_grad()

    # 3. The reference is the SFT model. Its log-probabilities never change, so compute them once, before training.
    seen, unseen = with_reference(policy, seen), with_reference(policy, unseen)
    before = measure(policy, unseen)
    print(f"SFT model: {describe(before)}")

    # 4. DPO: compute log pi(y|x) of both answers and the loss against the reference, then make an update.
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=learning_rate)
    for step in range(steps):
        batch = seen.select(torch.randint(len(seen), (batch_size,), generator=draw))
        loss = ops.reduce(dpo_loss(logprobs(policy, batch), beta=beta), None, count=len(batch))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 0:  # at step 0 the policy is the reference, and the loss ln 2 = 0.693
            print(f"  step {step:3}: loss {loss.item():.3f}")

    # 5. Measure the policy on prompts that it has not seen.
    after = measure(policy, unseen)
    print(f"after DPO: {describe(after)}")
    return before, after


def encode(policy: LanguageModel, prompts: list[str], answers: list[str]) -> TokenBatch:
    """Encodes prompts, padded on the left, and answers, padded on the right, each with its end-of-turn token."""
    prompt_ids = [policy.encode_prompt(Prompt(prompt, (Turn("user", prompt),))) for prompt in prompts]
    return collate(prompt_ids, [policy.encode_completion(Completion(answer)) for answer in answers])


def with_reference(policy: LanguageModel, pairs: PairBatch) -> PairBatch:
    """Returns the pairs with the current log-probabilities of both answers under the policy."""
    with torch.no_grad():
        chosen = forward.sequence_logprobs(policy.model, pairs.chosen)
        rejected = forward.sequence_logprobs(policy.model, pairs.rejected)
    return PairBatch(pairs.chosen, pairs.rejected, reference_chosen=chosen, reference_rejected=rejected)


def logprobs(policy: LanguageModel, pairs: PairBatch) -> PairLogprobs:
    """Returns log pi(y|x) of both answers, summed over their tokens, and the same under the reference."""
    return PairLogprobs(
        chosen=forward.sequence_logprobs(policy.model, pairs.chosen),
        rejected=forward.sequence_logprobs(policy.model, pairs.rejected),
        reference_chosen=pairs.reference_chosen,
        reference_rejected=pairs.reference_rejected,
        chosen_lengths=pairs.chosen.completion_lengths,
        rejected_lengths=pairs.rejected.completion_lengths,
    )


@torch.no_grad()
def measure(policy: LanguageModel, pairs: PairBatch) -> Measures:
    """Measures the pairs and one sampled answer to each prompt, always with the same random numbers."""
    margin = logprobs(policy, pairs).margin
    rows = zip(pairs.chosen.prompt_ids.tolist(), pairs.chosen.prompt_lengths.tolist(), strict=True)
    prompts = [ids[-length:] for ids, length in rows]
    with Native().open(Context()) as sampler:
        decoding = Decoding(max_new_tokens=4)
        samples = sampler.sample(policy, prompts, seeds=range(len(prompts)), decoding=decoding)
    answers = policy.completions(samples.batch)
    chosen, rejected = (
        sum(answer == other for answer, other in zip(answers, policy.completions(side), strict=True)) / len(answers)
        for side in (pairs.chosen, pairs.rejected)
    )
    accuracy = ((margin > 0).float() + 0.5 * (margin == 0).float()).mean().item()  # a tie counts one half
    return Measures(margin.mean().item(), accuracy, chosen, rejected, 1.0 - chosen - rejected)


def describe(measures: Measures) -> str:
    return (
        f"margin {measures.margin:5.2f} nats, {measures.accuracy:4.0%} of pairs in order; "
        f"answers {measures.chosen:.0%} reversed, {measures.rejected:.0%} repeated, {measures.neither:.0%} neither"
    )


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
