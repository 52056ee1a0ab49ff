"""From a batch to numbers: one padded, chunked pass of `forward` equals the plain model row by row."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from preflab.batch import KeptTokens, SampledBatch, TokenBatch, collate
from preflab.errors import UserError
from preflab.models import forward
from preflab.models.heads import Critic
from preflab.sampling.base import Decoding
from preflab.sampling.draw import choose_tokens

VOCABULARY = 37
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 0,  # pad == eos: no mask may depend on it
    "initializer_range": 0.5,
}
FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=64, eos_token_id=0, initializer_range=0.5
        )
    ),
    "gemma2, soft cap": lambda: Gemma2ForCausalLM(Gemma2Config(**SHAPE, head_dim=8, final_logit_softcapping=2.0)),
    "cohere, scale": lambda: CohereForCausalLM(CohereConfig(**SHAPE, logit_scale=0.25)),
    "granite, divisor": lambda: GraniteForCausalLM(GraniteConfig(**SHAPE, logits_scaling=4.0)),
}
PROMPTS = [[5, 6, 7, 8], [9], [3, 0]]
COMPLETIONS = [[10, 0], [11, 12, 13, 0], [0]]  # 0 inside, at the end, and alone


def make(name: str) -> Any:
    torch.manual_seed(0)
    return FAMILIES[name]().eval()


@pytest.fixture(scope="module")
def llama() -> Any:
    return make("llama")


@pytest.fixture(params=list(FAMILIES))
def model(request: pytest.FixtureRequest) -> Any:
    return make(request.param)


def batch() -> TokenBatch:
    return collate(PROMPTS, COMPLETIONS)


@torch.no_grad()
def plain_logits(model: Any, prompt: list[int], completion: list[int]) -> Tensor:
    """[n, V] fp32 from the model's own forward on one row without padding: what each completion token is drawn from."""
    ids = torch.tensor([prompt + completion])
    return model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float()


def plain_logprobs(model: Any, prompt: list[int], completion: list[int], temperature: float = 1.0) -> Tensor:
    """[n]: log-softmax of all logits, the completion's tokens picked."""
    logs = (plain_logits(model, prompt, completion) / temperature).log_softmax(-1)
    return logs.gather(1, torch.tensor(completion)[:, None]).squeeze(1)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_are_the_models_own(model: Any, temperature: float) -> None:
    """Protects every number above: in a padded batch, at a temperature, for families that scale or cap their logits, each
    token's log-probability is the plain model's on the row alone, the end token's included; 0 in the padding."""
    with torch.no_grad():
        scores = forward.token_logprobs(model, batch(), temperature=temperature)
    assert scores.entropy is None and scores.logprobs.dtype == torch.float32
    for b, (prompt, completion) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
        expected = plain_logprobs(model, prompt, completion, temperature)
        torch.testing.assert_close(scores.logprobs[b, : len(completion)], expected, atol=1e-5, rtol=1e-5)
        assert not scores.logprobs[b, len(completion) :].any()


def test_entropy(llama: Any) -> None:
    """Protects the logged entropy: -sum p ln p of each step's whole distribution, and of the kept ids where some were cut
    (two equal logits: ln 2)."""
    with torch.no_grad():
        scores = forward.token_logprobs(llama, batch(), entropy=True).entropy
        assert scores is not None
        for b, (prompt, completion) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
            logs = plain_logits(llama, prompt, completion).log_softmax(-1)
            expected = -(logs.exp() * logs).sum(-1)
            torch.testing.assert_close(scores[b, : len(completion)], expected, atol=1e-5, rtol=1e-5)
            assert not scores[b, len(completion) :].any()
        kept = KeptTokens(torch.tensor([[[10, 10, 10], [0, 1, 1]]]), torch.tensor([[2, 1]]))
        cut = forward.token_logprobs(llama, collate([[5]], [[10, 0]]), kept=kept, entropy=True).entropy
    assert cut is not None
    torch.testing.assert_close(cut, torch.tensor([[2.0, 1.0]]).log())


def random_kept(steps: TokenBatch, width: int) -> KeptTokens:
    """Some ids a step, the drawn token among them, in the vocabulary's order, the last repeated behind the count."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.zeros(*steps.completion_ids.shape, width, dtype=torch.int32)
    counts = torch.randint(1, width + 1, steps.completion_ids.shape, generator=generator).int()
    for b in range(ids.shape[0]):
        for t in range(ids.shape[1]):
            token, count = int(steps.completion_ids[b, t]), int(counts[b, t])
            others = [i for i in torch.randperm(VOCABULARY, generator=generator).tolist() if i != token]
            chosen = sorted([token, *others[: count - 1]])
            ids[b, t] = torch.tensor(chosen + [chosen[-1]] * (width - count))
    return KeptTokens(ids, counts)


def test_kept_ids_are_what_is_normalised_over(llama: Any) -> None:
    """Protects top-k and top-p: softmax over exactly the sampler's ids at its temperature; what stands behind a count is
    not looked at; a step that kept one id has probability 1."""
    rows, kept = batch(), random_kept(batch(), 5)
    with torch.no_grad():
        scores = forward.token_logprobs(llama, rows, temperature=0.7, kept=kept).logprobs
    for b, (prompt, completion) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
        logits = plain_logits(llama, prompt, completion) / 0.7
        for t, token in enumerate(completion):
            ids = kept.ids[b, t, : int(kept.counts[b, t])].long()
            expected = logits[t, token] - logits[t, ids].logsumexp(0)
            torch.testing.assert_close(scores[b, t], expected, atol=1e-5, rtol=1e-5)
            assert len(ids) > 1 or scores[b, t].item() == 0.0


def test_ties_and_a_far_policy_stay_finite(llama: Any) -> None:
    """Protects from minus infinity: logits in bf16 tie at rank k, so that a top-k mask computed again may leave out the
    token that was drawn. The kept ids hold it always; a policy whose logits are 60 times as large stays finite."""
    prompt, steps = [5, 6], 4
    far = copy.deepcopy(llama)
    far.lm_head.weight.data.mul_(60.0)
    for seed in range(8):
        tokens: list[int] = []
        ids: list[Tensor] = []
        for _ in range(steps):
            logits = plain_logits(llama, [*prompt, *tokens], [0])[:1]
            tied = (logits / 4).to(torch.bfloat16).round(decimals=0).float()  # coarse: many ties at every rank
            uniform = torch.rand(
                1, generator=torch.Generator().manual_seed(100 * seed + len(tokens)), dtype=torch.float64
            )
            drawn = choose_tokens(tied, uniform, Decoding(top_k=3))
            assert drawn.kept is not None and int(drawn.tokens) in drawn.kept.ids[0].tolist()
            tokens.append(int(drawn.tokens))
            ids.append(drawn.kept.ids[0])
        kept = KeptTokens(torch.stack(ids)[None], torch.full((1, steps), 3))
        for policy in (llama, far):
            with torch.no_grad():
                scores = forward.token_logprobs(policy, collate([prompt], [tokens]), kept=kept).logprobs
            assert torch.isfinite(scores).all() and (scores <= 0).all()


def test_chunks_change_nothing_and_hold_little(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects memory: completion tokens alone meet the vocabulary, never more than a chunk of them at a time, forward
    and backward; values and gradients are those of one piece."""
    rows, kept = batch(), random_kept(batch(), 4)

    def results() -> list[Tensor]:
        llama.zero_grad()
        scores = forward.token_logprobs(llama, rows, temperature=0.9, kept=kept, entropy=True)
        assert scores.entropy is not None
        (scores.logprobs.sum() + 0.3 * scores.entropy.sum()).backward()
        return [scores.logprobs.detach(), scores.entropy.detach(), *(p.grad.clone() for p in llama.parameters())]

    whole = results()
    row_counts: list[int] = []
    call = forward.Head.__call__

    def spy(head: forward.Head, hidden: Tensor) -> Tensor:
        row_counts.append(hidden.shape[0])
        return call(head, hidden)

    monkeypatch.setattr(forward, "LOGITS_BUDGET", 2 * VOCABULARY + 5)
    monkeypatch.setattr(forward.Head, "__call__", spy)
    for one, many in zip(whole, results(), strict=True):
        torch.testing.assert_close(many, one, atol=1e-5, rtol=1e-5)
    assert max(row_counts) == 2
    assert sum(row_counts) == 2 * rows.tokens - 2 * int(rows.prompt_lengths.sum())  # once forward, once recomputed
    with torch.no_grad():
        row_counts.clear()
        forward.token_logprobs(llama, rows)
    assert sum(row_counts) == int(rows.completion_lengths.sum())


@settings(max_examples=15)
@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=4),
    st.integers(0, 4),
    st.integers(0, 4),
    st.randoms(use_true_random=False),
)
def test_padding_and_neighbours_change_nothing(
    llama: Any, shapes: list[tuple[int, int]], left: int, right: int, random: Any
) -> None:
    """Protects from padding and position ids: any amount on either side, filled with any ids, and any rows beside, in any
    order, leave log-probabilities and values as they are."""
    ids = [
        ([random.randrange(VOCABULARY) for _ in range(p)], [random.randrange(VOCABULARY) for _ in range(n)])
        for p, n in shapes
    ]
    order = random.sample(range(len(ids)), len(ids))
    tight = collate([ids[i][0] for i in order], [ids[i][1] for i in order])
    junk = torch.Generator().manual_seed(random.randrange(1000))
    prompt_ids = torch.randint(VOCABULARY, (len(ids), tight.prompt_ids.shape[1] + left), generator=junk)
    completion_ids = torch.randint(VOCABULARY, (len(ids), tight.completion_ids.shape[1] + right), generator=junk)
    for b, i in enumerate(order):
        prompt_ids[b, -len(ids[i][0]) :] = torch.tensor(ids[i][0])
        completion_ids[b, : len(ids[i][1])] = torch.tensor(ids[i][1])
    wide = TokenBatch(prompt_ids, tight.prompt_lengths, completion_ids, tight.completion_lengths, tight.truncated)
    with torch.no_grad():
        scores = forward.token_logprobs(llama, wide).logprobs
        states = forward.states(llama, wide)
    for b, i in enumerate(order):
        n = len(ids[i][1])
        torch.testing.assert_close(scores[b, :n], plain_logprobs(llama, *ids[i]), atol=1e-5, rtol=1e-5)
        alone = forward.states(llama, collate([ids[i][0]], [ids[i][1]])).detach()[0]
        torch.testing.assert_close(states[b, : n + 1], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_values_stand_before_each_token_and_after_the_last(name: str) -> None:
    """Protects the bootstrap from being off by one: column t reads the state before token t (at t = 0 the prompt's last),
    column n_b the state after the last token."""
    critic = Critic(make(name).base_model).eval()
    torch.nn.init.normal_(critic.head.weight)
    torch.nn.init.constant_(critic.head.bias, 0.3)
    with torch.no_grad():
        values = forward.values(critic, batch())
        assert values.shape == (3, 4 + 1) and values.dtype == torch.float32
        for b, (prompt, completion) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
            hidden = critic.backbone(input_ids=torch.tensor([prompt + completion])).last_hidden_state[0]
            expected = critic.head(hidden[len(prompt) - 1 :]).squeeze(-1)
            torch.testing.assert_close(values[b, : len(completion) + 1], expected, atol=1e-5, rtol=1e-5)


def test_scores_are_the_sequence_classifiers() -> None:
    """Protects the reward model: on a right-padded batch transformers' classifier gives our scores, also where a row ends
    with the end token (read there, not before it), without one, or holds one in the middle."""
    torch.manual_seed(1)
    shape = SHAPE | {"pad_token_id": 36, "num_labels": 1}
    scorer = LlamaForSequenceClassification(LlamaConfig(**shape)).eval()
    prompts, completions = [*PROMPTS, [4, 4]], [*COMPLETIONS, [0, 7]]
    rows = [torch.tensor(p + c) for p, c in zip(prompts, completions, strict=True)]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=36)
    with torch.no_grad():
        theirs = scorer(input_ids=ids, attention_mask=(ids != 36).long()).logits[:, 0]
        ours = forward.scores(scorer, collate(prompts, completions))
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_full_logprobs_hold_the_whole_distribution(llama: Any) -> None:
    """Protects exact KL: a row a counted token, in row order; each sums to 1 and holds the token's own log-probability."""
    rows = batch()
    with torch.no_grad():
        full = forward.full_logprobs(llama, rows)
        own = forward.token_logprobs(llama, rows).logprobs[rows.mask]
    assert full.shape == (rows.mask.sum(), VOCABULARY)
    torch.testing.assert_close(full.exp().sum(-1), torch.ones(len(full)))
    torch.testing.assert_close(full.gather(1, rows.completion_ids[rows.mask][:, None]).squeeze(1), own)


@pytest.mark.parametrize("budget", [1, 7, 12, 1000])
def test_by_micro_batch_puts_rows_back(llama: Any, budget: int) -> None:
    """Protects reference log-probabilities: whatever the budget, rows come back in order, padded with 0, without a graph;
    kept ids travel with their rows."""
    sampled = SampledBatch(batch(), random_kept(batch(), 4))

    def logprobs(rows: SampledBatch) -> Tensor:
        return forward.token_logprobs(llama, rows.batch, kept=rows.kept).logprobs

    logprobs_by_row = forward.by_micro_batch(llama, logprobs, sampled, budget)
    assert not logprobs_by_row.requires_grad
    torch.testing.assert_close(logprobs_by_row, logprobs(sampled).detach(), atol=1e-5, rtol=1e-5)
    sums = forward.by_micro_batch(llama, lambda rows: logprobs(rows).sum(1), sampled, budget)
    torch.testing.assert_close(sums, logprobs_by_row.sum(1), atol=1e-5, rtol=1e-5)


def test_bf16_computes_in_bf16_on_fp32_weights(llama: Any) -> None:
    """Protects mixed precision: numbers near fp32's but not them, weights and gradients in fp32, the same for a copy, and
    an update seen at once (a cache of cast weights that outlives it would be stale)."""
    with torch.no_grad():
        exact = forward.token_logprobs(llama, batch()).logprobs
    half = copy.deepcopy(llama)
    forward.use_bf16(half)
    scores = forward.token_logprobs(copy.deepcopy(half), batch()).logprobs.detach()
    assert scores.dtype == torch.float32 and not torch.equal(scores, exact)
    torch.testing.assert_close(scores, exact, atol=0.3, rtol=0.05)
    forward.token_logprobs(half, batch()).logprobs.sum().backward()
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in half.parameters())
    half.lm_head.weight.data.mul_(0.0)
    flat = forward.token_logprobs(half, collate([[5]], [[6]])).logprobs
    assert flat.item() == pytest.approx(-torch.tensor(float(VOCABULARY)).log().item(), abs=1e-2)
    scorer = LlamaForSequenceClassification(LlamaConfig(**SHAPE, num_labels=1)).eval()
    forward.use_bf16(scorer)
    assert forward.scores(scorer, batch()).dtype == torch.float32


class Doubled(LlamaForCausalLM):
    """A family that makes its logits in a way of its own."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = super().forward(*args, **kwargs)
        output.logits = output.logits * 2
        return output


def test_unknown_ways_to_logits_are_refused() -> None:
    """Protects from silently wrong log-probabilities with an architecture whose head does something else."""
    model = Doubled(LlamaConfig(**SHAPE)).eval()
    with pytest.raises(UserError, match="cannot train a Doubled, because it computes its logits"):
        forward.token_logprobs(model, batch())
