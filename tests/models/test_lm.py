"""Text <-> ids, and saved policies in plain transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from preflab.batch import collate
from preflab.errors import UserError
from preflab.models import forward, tiny
from preflab.models.lm import LanguageModel
from preflab.models.load import load_directory
from preflab.models.spec import TinyShape
from preflab.types import Completion, Prompt, Turn

PROMPT = Prompt("p", (Turn("user", "is it so?"),))
TINY = tiny.make_tiny(TinyShape(words=("is", "it", "so?", "yes")), seed=0)


@pytest.fixture(params=["tiny", "gpt2", "qwen2", "llama"])
def lm(request: pytest.FixtureRequest, saved: dict[str, Path]) -> LanguageModel:
    return TINY if request.param == "tiny" else load_directory(saved[request.param])


TRANSCRIPTS = {
    "tiny": "is it so?<sep> yes it is</s>",
    "gpt2": "<|endoftext|>\n\nHuman: is it so?\n\nAssistant: yes it is<|endoftext|>",
    "qwen2": "<|im_start|>user\nis it so?<|im_end|>\n<|im_start|>assistant\nyes it is<|im_end|>",
    "llama": "<s> [Q] is it so? [A] yes it is </s>",
}


@pytest.mark.parametrize("name", list(TRANSCRIPTS))
def test_transcript(name: str, saved: dict[str, Path]) -> None:
    """Protects what the model reads: one BOS, the template's form, one end-of-turn token, a space where the template
    has one. (The space after <sep> and <s> is the decoder's way to show pieces that begin with one.)"""
    lm = TINY if name == "tiny" else load_directory(saved[name])
    ids = lm.encode_prompt(PROMPT) + lm.encode_completion(Completion("yes it is"))
    assert lm.tokenizer.decode(ids) == TRANSCRIPTS[name]


@pytest.mark.parametrize("name", list(TRANSCRIPTS))
def test_apart_equals_together(name: str, saved: dict[str, Path]) -> None:
    """Protects agreement with others: prompt and answer encoded apart are the ids of the rendered dialogue, up to the
    end token."""
    lm = TINY if name == "tiny" else load_directory(saved[name])
    turns = [{"role": "user", "content": "is it so?"}, {"role": "assistant", "content": "yes it is"}]
    whole = lm.tokenizer(lm.tokenizer.apply_chat_template(turns, tokenize=False), add_special_tokens=False).input_ids
    apart = lm.encode_prompt(PROMPT) + lm.encode_completion(Completion("yes it is", truncated=True))
    assert whole[: len(apart)] == apart


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(text=st.text(st.characters(exclude_characters="\ufffd")), truncated=st.booleans())
def test_answers_come_back(lm: LanguageModel, text: str, truncated: bool) -> None:
    """Protects samples: decode undoes encode for any text; the end token is there iff the answer is whole, and once."""
    ids = lm.encode_completion(Completion(text, truncated))
    assert lm.decode(ids, truncated=truncated) == Completion(text, truncated)
    assert sum(token in lm.end_ids for token in ids) == (0 if truncated else 1)


def test_special_tokens_in_an_answer_are_text(lm: LanguageModel) -> None:
    """Protects the end of a turn: an answer that spells out the end token does not end there."""
    end = lm.tokenizer.convert_ids_to_tokens(lm.end_ids[0])
    ids = lm.encode_completion(Completion(f"a{end}b"))
    assert ids.count(lm.end_ids[0]) == 1
    assert lm.decode(ids, truncated=False).text == f"a{end}b"


def test_template_that_refuses_is_named(saved: dict[str, Path]) -> None:
    """Protects the user from a traceback of the template's."""
    lm = load_directory(saved["qwen2"])
    lm.tokenizer.chat_template = "{{ raise_exception('no system turns') }}"
    with pytest.raises(UserError, match="'p': no system turns"):
        lm.encode_prompt(PROMPT)


def test_too_long_is_refused() -> None:
    """Protects the context: prompt and answer together must fit."""
    TINY.check_fits(PROMPT, [0] * 500, 12)
    with pytest.raises(UserError, match="context is 512"):
        TINY.check_fits(PROMPT, [0] * 500, 13)


def test_saved_policy_in_plain_transformers(lm: LanguageModel, tmp_path: Path) -> None:
    """Protects users of the result: AutoModelForCausalLM and AutoTokenizer alone give the same prompt ids and
    log-probabilities, `generate` knows the end ids and pads on the left, and no pickle is written."""
    lm.save(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    turns = [{"role": "user", "content": "is it so?"}]
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
    assert ids == lm.encode_prompt(PROMPT)
    answer = lm.encode_completion(Completion("yes it is"))
    ours = forward.token_logprobs(lm.model, collate([ids], [answer])).logprobs[0]
    with torch.no_grad():
        logits = model(torch.tensor([[*ids, *answer]])).logits[0, len(ids) - 1 : -1]
    theirs = logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert model.generation_config.eos_token_id in (list(lm.end_ids), lm.end_ids[0])
    assert tokenizer.pad_token_id == model.config.pad_token_id == lm.pad_id
    assert tokenizer.padding_side == "left"
    assert not [*tmp_path.glob("*.bin"), *tmp_path.glob("*.pt")]


def test_saved_policy_loads_as_it_was(lm: LanguageModel, tmp_path: Path) -> None:
    """Protects chains of stages: ids, prefix, context and notices survive a save, and a second load adds no token."""
    lm = LanguageModel(**{**vars(lm), "notices": ("made of paper",)})
    lm.save(tmp_path)
    again = load_directory(tmp_path)
    for name in ("end_ids", "pad_id", "context", "notices", "form"):
        assert getattr(again, name) == getattr(lm, name)
    assert len(again.tokenizer) == len(lm.tokenizer)
    for (name, ours), theirs in zip(lm.model.named_parameters(), again.model.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
