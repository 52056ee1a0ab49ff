"""The embedded model: a lossless tokenizer, and weights that are the same everywhere."""

from __future__ import annotations

import hashlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from preflab.models import tiny
from preflab.models.spec import ModelSpec, TinyShape

WORDS = ("add", "then", "<", "|", "->")
TOKENIZER = tiny.wrap_tokenizer(tiny.make_tokenizer(WORDS))
PIECES = ["add", " ", "  ", "\n", "<", "<0x41>", "</s>", "<pad>", "<sep>", "▁", "-12", "é", "\x00", "0x41>", "/s>"]


def encode(text: str) -> list[int]:
    return list(TOKENIZER(text, add_special_tokens=False, split_special_tokens=True).input_ids)


@given(st.text() | st.lists(st.sampled_from(PIECES)).map("".join))
def test_every_text_comes_back_unchanged(text: str) -> None:
    """Protects answers and statements from being altered between text and ids, special tokens' names included."""
    ids = encode(text)
    assert TOKENIZER.decode(ids) == text
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == text


@given(st.lists(st.sampled_from([*WORDS, *tiny.TINY_INTEGERS]), min_size=1))
def test_each_known_word_is_one_token(words: list[str]) -> None:
    """Protects the length of programs: n words are n tokens, the first word included."""
    assert len(encode(" ".join(words))) == len(words)


def test_size_and_weights_are_golden() -> None:
    """Protects comparability across machines: the same seed draws the same bits.

    With V = 3 special + 256 bytes + 199 integers + 5 words = 463, width 96, inner 128, 4 layers: embeddings (tied)
    463*96 = 44448; a layer 4*96*96 + 3*96*128 + 2*96 = 73920; in all 44448 + 4*73920 + 96 = 340224.
    """
    model = tiny.make_tiny(TinyShape(words=WORDS), seed=7).model
    assert len(TOKENIZER) == 463
    assert sum(parameter.numel() for parameter in model.parameters()) == 340224
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(name.encode() + parameter.detach().numpy().astype("<f4").tobytes())
    assert digest.hexdigest() == "bb15348f9452896ad79a13c572b0dbeb97b405fedf958d103c4ee1dfb3dd8875"


def test_seed_decides_and_global_state_stays() -> None:
    """Protects reproducibility: loading neither reads nor moves torch's global random state."""
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again, other = (tiny.make_tiny(TinyShape(), seed=seed).model.lm_head.weight for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert float(first.detach().std()) == pytest.approx(96**-0.5, rel=0.02)


def test_other_sizes_are_reachable() -> None:
    """Protects the claim that the shape spans 0.1M to 1M parameters.

    V = 458. Small, width 48, inner 64, 3 layers: 458*48 + 3*(4*48*48 + 3*48*64 + 2*48) + 48 = 77616. Large, width 128,
    inner 256, 6 layers: 458*128 + 6*(4*128*128 + 3*128*256 + 2*128) + 128 = 1043328.
    """
    small = TinyShape(width=48, inner=64, layers=3, heads=4)
    large = TinyShape(width=128, inner=256, layers=6, heads=4)
    assert sum(p.numel() for p in tiny.make_tiny(small, seed=0).model.parameters()) == 77616
    assert sum(p.numel() for p in tiny.make_tiny(large, seed=0).model.parameters()) == 1043328


@pytest.mark.parametrize("shape", [{"width": 100, "heads": 3}, {"words": ["two words"]}, {"words": [""]}, {"depth": 2}])
def test_bad_shapes_are_refused(shape: dict[str, object]) -> None:
    """Protects from a shape that fails later, inside transformers, or that is silently ignored."""
    with pytest.raises(ValidationError):
        ModelSpec.model_validate({"tiny": shape})


def test_a_bare_string_is_the_name() -> None:
    """Protects `model: smollm2` in a study file."""
    assert ModelSpec.model_validate("smollm2") == ModelSpec(name="smollm2")
