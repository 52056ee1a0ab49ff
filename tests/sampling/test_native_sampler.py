"""The native sampler: it draws the tokens that transformers draws, with the log-probabilities that `forward` computes."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from tests.sampling.conftest import CONTEXT, ENDS, ask, build, completions, random_prompts

from preflab.errors import UserError
from preflab.models.forward import token_logprobs
from preflab.models.lm import LanguageModel
from preflab.sampling import SAMPLERS
from preflab.sampling.base import Samples
from preflab.sampling.fused import FusedLayers
from preflab.sampling.native import Native, NativeSampler, most_rows
from preflab.sampling.support import Support
from preflab.spec import Context

SERVED = ["llama", "qwen2", "qwen3", "gpt2"]
GENERATED = ["mistral", "gemma2", "bloom", "mamba"]
RESTRICTIONS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.7},
    {"top_k": 5},
    {"top_p": 0.8},
    {"top_k": 20, "top_p": 0.8, "temperature": 1.3},
]


def generated(lm: LanguageModel, prompts: list[list[int]], new_tokens: int) -> torch.Tensor:
    """What transformers' greedy `generate` makes of a left-padded batch."""
    width = max(map(len, prompts))
    ids = torch.tensor([[lm.pad_id] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    options = {"do_sample": False, "eos_token_id": list(lm.end_ids), "pad_token_id": lm.pad_id}
    return lm.model.generate(ids, attention_mask=mask, max_new_tokens=new_tokens, **options)[:, width:]


def largest_error(lm: LanguageModel, samples: Samples, temperature: float) -> float:
    with torch.no_grad():
        again = token_logprobs(lm.model, samples.batch, temperature=temperature, kept=samples.kept).logprobs
    return float(((again - samples.logprobs).abs() * samples.batch.mask).max())


@pytest.mark.parametrize("name", SERVED + GENERATED)
def test_greedy_equals_generate_token_for_token(name: str, sampler: NativeSampler) -> None:
    """Left-padded prompts of 1 to 13 ids, two end ids, repeated prompts: the same ids up to the end of each row."""
    lm = build(name)
    prompts = random_prompts(9) + random_prompts(3)
    samples = ask(sampler, lm, prompts, range(12), temperature=0)
    expected = generated(lm, prompts, 10)[:, : samples.batch.completion_ids.shape[1]]
    mask = samples.batch.mask
    assert torch.equal(expected[mask], samples.batch.completion_ids[mask])
    assert samples.kept is None


@pytest.mark.parametrize(
    ("name", "decoding"),
    [(name, decoding) for name in SERVED for decoding in RESTRICTIONS]
    + [(name, RESTRICTIONS[-1]) for name in GENERATED],
    ids=str,
)
def test_log_probabilities_are_those_of_forward(name: str, decoding: dict[str, Any], sampler: NativeSampler) -> None:
    """fp32: `token_logprobs` on the samples, at the same temperature and with the kept ids, agrees to 1e-4."""
    lm = build(name)
    samples = ask(sampler, lm, random_prompts(10), range(10), **decoding)
    assert (samples.kept is None) == ("top_k" not in decoding and "top_p" not in decoding)
    assert largest_error(lm, samples, decoding.get("temperature", 1.0)) <= 1e-4


def test_greedy_log_probabilities_are_at_temperature_1(llama: LanguageModel, sampler: NativeSampler) -> None:
    """At temperature 0 the stored log-probability is the policy's own."""
    assert largest_error(llama, ask(sampler, llama, random_prompts(6), range(6), temperature=0), 1.0) <= 1e-4


@pytest.mark.parametrize("decoding", [{"top_k": 4}, {"top_p": 0.7}, {"top_k": 6, "top_p": 0.9}], ids=str)
def test_the_drawn_token_is_among_the_kept(
    decoding: dict[str, Any], llama: LanguageModel, sampler: NativeSampler
) -> None:
    """A kept set without the drawn token would make its log-probability minus infinity."""
    samples = ask(sampler, llama, random_prompts(12), range(12), **decoding)
    kept, batch = samples.kept, samples.batch
    assert kept is not None
    places = torch.arange(kept.ids.shape[2])
    hit = (kept.ids == batch.completion_ids[:, :, None]) & (places < kept.counts[:, :, None])
    assert bool(hit.any(2)[batch.mask].all())
    assert kept.ids.dtype == kept.counts.dtype == torch.int32
    assert kept.ids.shape[2] == int(kept.counts.max())
    if "top_p" not in decoding:
        assert bool((kept.counts[batch.mask] == decoding["top_k"]).all())


@settings(max_examples=12)
@given(data=st.data())
def test_a_row_does_not_depend_on_its_batch(data: st.DataObject) -> None:
    """Any subset of the rows, in any order, in batches of any size, with a longer prompt beside them, gives each row
    the completion and the log-probabilities (to rounding) that it has alone."""
    lm = build("llama")
    prompts, seeds = random_prompts(8) + random_prompts(2), list(range(100, 110))
    decoding = data.draw(st.sampled_from(RESTRICTIONS))
    rows = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=10, unique=True))
    stranger = data.draw(st.sampled_from([[], [list(range(30))]]))
    with Native(rows=data.draw(st.integers(1, 10))).open(Context()) as sampler:
        alone = [ask(sampler, lm, [prompts[row]], [seeds[row]], **decoding) for row in rows]
        requested = [prompts[row] for row in rows] + stranger
        together = ask(sampler, lm, requested, [seeds[row] for row in rows] + [7] * len(stranger), **decoding)
    texts = completions(together)
    for place, single in enumerate(alone):
        assert texts[place] == completions(single)[0]
        length = len(texts[place])
        assert torch.allclose(together.logprobs[place, :length], single.logprobs[0, :length], atol=1e-4)
        assert bool(together.batch.truncated[place]) == bool(single.batch.truncated[0])


def test_more_tokens_only_lengthen(llama: LanguageModel, sampler: NativeSampler) -> None:
    """The same seeds with a higher limit: every completion begins with the shorter one."""
    short = completions(ask(sampler, llama, random_prompts(8), range(8), max_new_tokens=4))
    long = completions(ask(sampler, llama, random_prompts(8), range(8), max_new_tokens=20))
    assert all(longer[: len(shorter)] == shorter for shorter, longer in zip(short, long, strict=True))
    assert any(len(longer) > len(shorter) for shorter, longer in zip(short, long, strict=True))


def test_ends_and_truncation(llama: LanguageModel, sampler: NativeSampler) -> None:
    """Each end id ends a row, counts as its last token and appears nowhere before; `truncated` says that none came; T
    is the longest completion; rows and prompts come back in the order asked."""
    prompts = random_prompts(60)
    batch = ask(sampler, llama, prompts, range(60), max_new_tokens=12).batch
    last = set()
    for row, ids in enumerate(completions(Samples(batch, torch.zeros(0)))):
        ended = ids[-1] in ENDS
        assert bool(batch.truncated[row]) == (not ended)
        assert ended or len(ids) == 12
        assert not set(ids[:-1]) & set(ENDS)
        assert batch.prompt_ids[row, -len(prompts[row]) :].tolist() == prompts[row]
        last.add(ids[-1] if ended else None)
    assert last == {*ENDS, None}
    assert batch.completion_ids.shape[1] == int(batch.completion_lengths.max())


def test_pad_may_equal_an_end_id_and_stand_in_prompts(sampler: NativeSampler) -> None:
    """pad == eos, and prompts that contain it: lengths decide what counts, so that nothing changes."""
    lm = build("llama")
    prompts = [[*ENDS, *prompt, ENDS[0]] for prompt in random_prompts(6)]
    first = ask(sampler, lm, prompts, range(6))
    second = ask(sampler, replace(lm, pad_id=ENDS[0]), prompts, range(6))
    assert completions(first) == completions(second)
    assert largest_error(lm, second, 1.0) <= 1e-4


def test_equal_prompts_pass_the_model_once(
    llama: LanguageModel, sampler: NativeSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four prompts asked for 5, 1, 2 and 3 times in turns: the prefill sees four rows; each copy has its own sample."""
    prompts = [prompt for prompt, n in zip(random_prompts(4), (5, 1, 2, 3), strict=True) for _ in range(n)]
    ask(sampler, llama, prompts[:1], [0])  # past the trial of the architecture
    row_counts: list[int] = []
    read = FusedLayers.read

    def count(layers: FusedLayers, ids: torch.Tensor, *others: Any) -> torch.Tensor:
        row_counts.append(len(ids))
        return read(layers, ids, *others)

    monkeypatch.setattr(FusedLayers, "read", count)
    samples = ask(sampler, llama, prompts[::2] + prompts[1::2], range(11))
    assert sum(row_counts) == 4
    assert len({tuple(ids) for ids in completions(samples)}) > 6


@pytest.mark.parametrize("name", ["llama", "mamba"])
def test_the_model_is_left_as_it_was(name: str) -> None:
    """Dropout off while sampling; training modes, weights (bit for bit, with bf16 too), generation defaults and the
    gradients' possibility come back, each module's own."""
    lm = build(name)
    lm.model.train()
    frozen = next(module for module in lm.model.modules() if not list(module.children()))
    frozen.training = False
    before = {key: value.clone() for key, value in lm.model.state_dict().items()}
    shipped = lm.model.generation_config
    with Native(precision="bf16").open(Context()) as sampler:
        ask(sampler, lm, random_prompts(4), range(4))
    assert lm.model.training and not frozen.training
    assert lm.model.generation_config is shipped
    assert all(torch.equal(value, before[key]) for key, value in lm.model.state_dict().items())
    assert all(weight.requires_grad and weight.dtype == torch.float32 for weight in lm.model.parameters())


def test_bf16_precision_stays_near_fp32() -> None:
    """The weights are rounded to bf16 while sampling; the log-probabilities stay within .3 of fp32's on this model,
    whose weights are 15 times larger than usual, and equal a bf16 model's own to .1."""
    lm = build("llama")
    with Native(precision="bf16").open(Context()) as sampler:
        samples = ask(sampler, lm, random_prompts(10), range(10))
    assert 1e-6 < largest_error(lm, samples, 1.0) < 0.3
    lm.model.to(torch.bfloat16)
    with Native().open(Context()) as sampler:
        own = ask(sampler, lm, random_prompts(10), range(10), top_k=8)
    assert own.logprobs.dtype == torch.float32
    assert largest_error(lm, own, 1.0) < 0.1


def test_adapters_are_sampled() -> None:
    """Under peft the adapter's weights count: with a large adapter the samples differ from the base model's and agree
    with `forward` on the wrapped model."""
    lm = build("llama")
    with Native().open(Context()) as sampler:
        plain = completions(ask(sampler, lm, random_prompts(8), range(8)))
        wrapped: Any = get_peft_model(lm.model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_alpha=64))
        for key, weight in wrapped.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(weight, std=0.3)
        adapted = lm.with_model(wrapped)
        samples = ask(sampler, adapted, random_prompts(8), range(8))
    assert completions(samples) != plain
    assert largest_error(adapted, samples, 1.0) <= 1e-4


def test_a_memory_of_one_row_changes_nothing(llama: LanguageModel, sampler: NativeSampler) -> None:
    """A budget below one row's need still samples, row by row, the same completions."""
    wide = completions(ask(sampler, llama, random_prompts(6), range(6)))
    with Native(cache_gib=1e-6).open(Context()) as narrow:
        assert completions(ask(narrow, llama, random_prompts(6), range(6))) == wide


def test_an_architecture_that_is_not_served_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    """One warning of the logger `preflab` with the class and the reason, however often it samples; none for the others.
    A window of attention matters only where a row can exceed it."""
    lm = build("mistral")
    with caplog.at_level(logging.WARNING, logger="preflab"), Native().open(Context()) as sampler:
        ask(sampler, lm, [[1, 2]], [0], max_new_tokens=10)  # 12 tokens at most: within the window of 12
        assert not caplog.records
        for _ in range(2):
            ask(sampler, lm, [[1, 2, 3]], [0], max_new_tokens=10)
        ask(sampler, build("llama"), [[1, 2]], [0])
    assert [record.name for record in caplog.records] == ["preflab"]
    assert "MistralForCausalLM" in caplog.text and "window is 12 tokens" in caplog.text


def test_served_and_generated_paths_draw_the_same(llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds mean the same on both paths: the same completions, kept ids and (to rounding) log-probabilities."""
    prompts = random_prompts(8)
    with Native().open(Context()) as sampler:
        served = ask(sampler, llama, prompts, range(8), top_k=9)
    monkeypatch.setattr("preflab.sampling.native.examine", lambda base: Support("for this test."))
    with Native().open(Context()) as sampler:
        other = ask(sampler, llama, prompts, range(8), top_k=9)
    assert completions(served) == completions(other)
    assert torch.allclose(served.logprobs, other.logprobs, atol=1e-4)
    assert served.kept is not None and other.kept is not None
    assert torch.equal(served.kept.ids[served.batch.mask], other.kept.ids[other.batch.mask])


@pytest.mark.parametrize(
    ("prompt", "says"),
    [([], "Prompt 1 is empty"), ([1] * (CONTEXT - 9), f"Prompt 1 has {CONTEXT - 9} tokens")],
    ids=["empty", "long"],
)
def test_bad_requests_are_the_users(prompt: list[int], says: str, llama: LanguageModel, sampler: NativeSampler) -> None:
    """An empty prompt and one that does not fit the context are named, with what to do."""
    with pytest.raises(UserError, match=says):
        ask(sampler, llama, [[1, 2], prompt], [0, 1])


@pytest.mark.parametrize("reason", ["", "for this test."])
def test_logits_that_are_not_finite_are_named(
    reason: str, sampler: NativeSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A diverged policy gives one line with the row and the likely cause, on both paths; sound weights then work again,
    though the cache met NaN."""
    if reason:
        monkeypatch.setattr("preflab.sampling.native.examine", lambda base: Support(reason))
    lm = build("llama")
    weight = lm.model.get_input_embeddings().weight
    sound = weight.detach().clone()
    prompts = [[1, 2, 4, 5], [1, 3], [2]]
    ask(sampler, lm, prompts, range(3), temperature=0, max_new_tokens=1)  # past the trial of the architecture
    with torch.no_grad():
        weight[3] = float("nan")
    with pytest.raises(UserError, match=r"row 1 \(a prompt of 2 tokens\).*diverged"):
        ask(sampler, lm, prompts, range(3), temperature=0, max_new_tokens=1)
    with torch.no_grad():
        weight.copy_(sound)
    assert largest_error(lm, ask(sampler, lm, prompts, range(3)), 1.0) <= 1e-4


def test_results_may_enter_a_loss(llama: LanguageModel, sampler: NativeSampler) -> None:
    """Samples are ordinary tensors: a gradient flows through a forward pass on them."""
    samples = ask(sampler, llama, random_prompts(4), range(4), top_k=5)
    token_logprobs(llama.model, samples.batch, kept=samples.kept).logprobs.sum().backward()
    assert all(weight.grad is not None for weight in llama.model.parameters())
    llama.model.zero_grad()


def test_registry_gives_the_spec() -> None:
    """`native` by name, with settings, and back."""
    spec = SAMPLERS.parse({"kind": "native", "rows": 8})
    assert isinstance(spec, Native)
    assert SAMPLERS.dump(spec) == {"kind": "native", "rows": 8, "cache_gib": None, "precision": "model"}
    with pytest.raises(UserError, match="Did you mean 'native'"):
        SAMPLERS.parse("nativ")


def test_narrow_models_have_larger_batches() -> None:
    """131,072 / width, from 256 to 1,024: width 32 gives 1,024, width 300 gives 436, width 4,096 gives 256."""
    for width, rows in ((32, 1024), (300, 436), (4096, 256)):
        assert most_rows(width) == rows


def test_a_window_is_not_counted_across_the_gap(sampler: NativeSampler) -> None:
    """GPT-Neo's local layers count columns: a prompt shorter than its neighbour's has a gap behind it, which the window (12
    tokens, in the hub's models 256) would count. Log-probabilities stay those of `forward`, and a row does not depend on
    its neighbour."""
    lm = build("gpt-neo")
    long, short = [5 + place for place in range(26)], [20, 21, 22]
    both = ask(sampler, lm, [long, short], [0, 1], max_new_tokens=20)
    with torch.no_grad():
        again = token_logprobs(lm.model, both.batch).logprobs
    torch.testing.assert_close(both.logprobs * both.batch.mask, again, atol=1e-4, rtol=1e-4)
    assert completions(both)[1] == completions(ask(sampler, lm, [short], [1], max_new_tokens=20))[0]


def test_a_model_that_generate_does_not_know_is_named(sampler: NativeSampler, monkeypatch: pytest.MonkeyPatch) -> None:
    """An architecture with a cache of another kind (Bart's decoder) ends in one line, not in a traceback of transformers'."""
    lm = build("mamba")

    def fail(**how: Any) -> None:
        raise IndexError("list index out of range")

    monkeypatch.setattr(lm.model, "generate", fail)
    with pytest.raises(UserError, match=r"cannot sample from a MambaForCausalLM: list index"):
        ask(sampler, lm, [[5, 6]], [0])
