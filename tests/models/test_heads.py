"""Reward model and critic: the same scores in plain transformers, a critic whose values start at zero."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from tests.models.conftest import CHATML, chat_tokenizer
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)

from preflab.batch import collate
from preflab.errors import UserError
from preflab.models import forward, lora
from preflab.models.facts import FACTS_FILE, TRAINED_ON
from preflab.models.heads import Critic, load_reward_model, make_critic, make_reward_model
from preflab.models.lm import LanguageModel
from preflab.models.load import load_directory, load_model
from preflab.models.reference import trainable
from preflab.models.spec import LoRA, ModelSpec
from preflab.models.verify import save_verified
from preflab.types import Completion, Prompt, Turn

PROMPTS = [Prompt("a", (Turn("user", "is it so?"),)), Prompt("b", (Turn("user", "is it, or is it not so?"),))]
ANSWERS = [Completion("yes it is"), Completion("no"), Completion("cut of", truncated=True)]


def rows(lm: LanguageModel) -> list[tuple[list[int], list[int]]]:
    return [(lm.encode_prompt(prompt), lm.encode_completion(answer)) for prompt in PROMPTS for answer in ANSWERS]


def scores(lm: LanguageModel) -> Tensor:
    prompts, answers = zip(*rows(lm), strict=True)
    with torch.no_grad():
        return forward.scores(lm.model, collate(prompts, answers))


def values(value_model: Critic, lm: LanguageModel) -> Tensor:
    prompts, answers = zip(*rows(lm), strict=True)
    with torch.no_grad():
        return forward.values(value_model, collate(prompts, answers))


@pytest.mark.parametrize("side", ["left", "right"])
def test_saved_scores_in_plain_transformers(family: Path, tmp_path: Path, side: str) -> None:
    """Protects users of the reward model, and us from a head that reads the wrong token: plain transformers, padded on
    either side, pad == eos in the original tokenizer, gives `forward.scores`, the row that ends without an end token
    included. (GPT-2 counts positions from the row's edge, so that on the left it needs the positions said.)"""
    scorer = make_reward_model(load_directory(family), seed=4)
    ours = scores(scorer)
    assert ours.std() > 0
    scorer.save(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.padding_side == "right"
    assert tokenizer.pad_token_id == model.config.pad_token_id == scorer.pad_id
    assert scorer.pad_id not in scorer.end_ids
    batch = tokenizer.pad(
        {"input_ids": [prompt + answer for prompt, answer in rows(scorer)]}, padding_side=side, return_tensors="pt"
    )
    positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        theirs = model(**batch, position_ids=positions).logits[:, 0]
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-5)


def test_reward_model_loads_as_it_was(family: Path, tmp_path: Path) -> None:
    """Protects from a reward head that is not in the checkpoint: the same scores to the bit, the same ids."""
    scorer = make_reward_model(load_directory(family), seed=4)
    scorer.save(tmp_path)
    again = load_reward_model(tmp_path)
    assert torch.equal(scores(again), scores(scorer))
    for name in ("end_ids", "pad_id", "context", "notices", "form"):
        assert getattr(again, name) == getattr(scorer, name)


def test_reward_model_is_a_copy(saved: dict[str, Path]) -> None:
    """Protects the SFT model: a reward model has weights of its own. Its head follows the seed, and nothing global."""
    lm = load_directory(saved["llama"])
    before = torch.get_rng_state()
    first, again, other = (make_reward_model(lm, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.model.score.weight, again.model.score.weight)
    assert not torch.equal(first.model.score.weight, other.model.score.weight)
    assert set(trainable(first.model)) == {name for name, _ in first.model.named_parameters()}
    ours = {parameter.data_ptr() for parameter in lm.model.parameters()}
    assert not ours & {parameter.data_ptr() for parameter in first.model.parameters()}


def test_reward_model_under_lora(family: Path, tmp_path: Path) -> None:
    """Protects LoRA's saving of memory, and the head: adapters of the policy's shape on merged weights, the head
    trained in full, and the saved model plain, with both in it."""
    lm = load_model(ModelSpec(name=str(family), lora=LoRA(rank=2, alpha=2)), seed=0)
    for parameter in trainable(lm.model).values():
        parameter.data.add_(0.1)
    scorer = make_reward_model(lm, seed=4)
    lm.save(tmp_path / "policy")
    merged = make_reward_model(load_directory(tmp_path / "policy"), seed=4)
    torch.testing.assert_close(scores(scorer), scores(merged), atol=1e-5, rtol=1e-5)
    names = list(trainable(scorer.model))
    assert [name for name in names if ".lora_" not in name] == ["base_model.model.score.weight"]
    for parameter in trainable(scorer.model).values():
        parameter.data.add_(0.05)
    scorer.save(tmp_path / "scorer")
    again = load_reward_model(tmp_path / "scorer")
    assert not lora.is_adapted(again.model)
    torch.testing.assert_close(scores(again), scores(scorer), atol=1e-5, rtol=1e-4)


def trained_adapters(path: Path) -> LanguageModel:
    """Makes a reward model with new adapters and changes its trainable weights at random, as training would."""
    scorer = make_reward_model(load_model(ModelSpec(name=str(path), lora=LoRA(rank=2)), seed=0), seed=4)
    generator = torch.Generator().manual_seed(1)
    for parameter in trainable(scorer.model).values():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return scorer


@torch.no_grad()
def plain_scores(model: Any, lm: LanguageModel) -> Tensor:
    """Returns the scores that transformers or peft computes without preflab, one row at a time."""
    return torch.cat([model(input_ids=torch.tensor([prompt + answer])).logits[:, 0] for prompt, answer in rows(lm)])


def test_adapters_of_a_reward_model_in_plain_peft(family: Path, tmp_path: Path) -> None:
    """peft loads the saved adapters and the head onto the base model that they name, and computes the scores of the
    merged model."""
    scorer = trained_adapters(family)
    assert save_verified(scorer, tmp_path) == ""
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    adapters = tmp_path / lora.ADAPTER
    name = PeftConfig.from_pretrained(adapters).base_model_name_or_path
    assert name == str(family)
    base = AutoModelForSequenceClassification.from_pretrained(name, num_labels=1)
    adapted = PeftModel.from_pretrained(base, adapters).eval()
    expected = plain_scores(merged, scorer)
    assert expected.std() > 0.01
    torch.testing.assert_close(plain_scores(adapted, scorer), expected, atol=1e-4, rtol=1e-4)
    again = load_reward_model(adapters)
    assert not lora.is_adapted(again.model) and again.form.closing == scorer.form.closing
    torch.testing.assert_close(scores(again), scores(scorer), atol=1e-4, rtol=1e-4)


def test_adapters_stand_in_for_a_merged_reward_model(
    saved: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If merging fails, only the adapters are kept, and they load as the trained reward model."""
    scorer = trained_adapters(saved["qwen2"])

    def save_untrained(model: Any, directory: Path) -> None:
        make_reward_model(load_directory(saved["qwen2"]), seed=9).model.save_pretrained(directory)

    monkeypatch.setattr(lora, "save_plain", save_untrained)
    assert save_verified(scorer, tmp_path).startswith(
        "Merged weights would differ from the trained model (scores differ by"
    )
    assert not (tmp_path / "config.json").exists()
    torch.testing.assert_close(scores(load_reward_model(tmp_path)), scores(scorer), atol=1e-4, rtol=1e-4)


def test_adapters_of_the_other_kind(saved: dict[str, Path], tmp_path: Path) -> None:
    """The adapters of a reward model do not load as a policy, and those of a policy do not load as a reward model."""
    trained_adapters(saved["qwen2"]).save(tmp_path / "scorer")
    load_model(ModelSpec(name=str(saved["qwen2"]), lora=LoRA(rank=2)), seed=0).save(tmp_path / "policy")
    with pytest.raises(UserError, match=r"the adapters of a reward model\. Give the adapters of a policy"):
        load_directory(tmp_path / "scorer" / lora.ADAPTER)
    with pytest.raises(UserError, match=r"the adapters of a policy\. Give the adapters of a reward model"):
        load_reward_model(tmp_path / "policy" / lora.ADAPTER)


def test_what_is_no_reward_model(saved: dict[str, Path], tmp_path: Path) -> None:
    """Protects from a policy, or a classifier of many labels, read as a reward; and from a reward model as a policy."""
    with pytest.raises(UserError, match="not a reward model"):
        load_reward_model(saved["llama"])
    config = LlamaConfig(
        vocab_size=465, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, num_labels=3
    )
    LlamaForSequenceClassification(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="3 labels"):
        load_reward_model(tmp_path)
    with pytest.raises(UserError, match="It is a reward model"):
        load_directory(tmp_path)


@pytest.mark.parametrize("origin", ["policy", "reward model"])
@pytest.mark.parametrize("rank", [None, 2])
def test_critic(family: Path, origin: str, rank: int | None) -> None:
    """Protects PPO's first step: every value is exactly 0 whatever the backbone; the head has a bias; the gradient
    reaches head and backbone."""
    lm = load_model(ModelSpec(name=str(family), lora=None if rank is None else LoRA(rank=rank)), seed=0)
    value_model = make_critic(lm if origin == "policy" else make_reward_model(lm, seed=1), seed=2)
    assert torch.equal(values(value_model, lm), torch.zeros_like(values(value_model, lm)))
    assert value_model.head.bias is not None
    value_model.head.weight.data.fill_(0.1)
    prompts, answers = zip(*rows(lm), strict=True)
    forward.values(value_model, collate(prompts, answers)).sum().backward()
    moved = {name for name, parameter in trainable(value_model).items() if parameter.grad is not None}
    assert {"head.weight", "head.bias"} < moved
    assert rank is None or all(".lora_" in name for name in trainable(value_model) if not name.startswith("head."))


@pytest.mark.parametrize("tail", ["\\n", "", "\\n\\n<|endoftext|>"])
@pytest.mark.parametrize("end", ["<|im_end|>", ""])
def test_a_foreign_reward_model_is_read_where_its_card_reads_it(tail: str, end: str, tmp_path: Path) -> None:
    """Protects scores of reward models from elsewhere: their cards render the whole dialogue and read its last token,
    whatever the template writes behind the answer, and also where it ends an answer with no token."""
    chat = CHATML.replace("'<|im_end|>' + '\\n'", f"'{end}' + '{tail}'")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=272, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_labels=1,
        pad_token_id=3, eos_token_id=2, initializer_range=0.2,
    )  # fmt: skip
    LlamaForSequenceClassification(config).save_pretrained(tmp_path)
    chat_tokenizer(chat).save_pretrained(tmp_path)
    plain, tokenizer = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval(), chat_tokenizer(chat)
    lm = load_reward_model(tmp_path)
    for prompt, text in ((PROMPTS[0], "yes"), (PROMPTS[1], "No, it is not.")):
        turns = [{"role": turn.role, "content": turn.content} for turn in (*prompt.turns, Turn("assistant", text))]
        rendered = tokenizer(tokenizer.apply_chat_template(turns, tokenize=False), add_special_tokens=False)
        encoded = lm.encode(prompt, Completion(text), 64)
        assert [*encoded.prompt, *encoded.answer] == rendered.input_ids
        with torch.no_grad():
            card = plain(torch.tensor([rendered.input_ids])).logits[0, 0]
            ours = forward.scores(lm.model, collate([encoded.prompt], [encoded.answer]))[0]
        torch.testing.assert_close(ours, card, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tail", ["\\n", ""])
def test_a_foreign_reward_model_whose_padding_ends_answers(tail: str, tmp_path: Path) -> None:
    """Protects scores of reward models that were trained with pad_token = eos_token: transformers reads the last token
    that is not padding, so the answer's last token where nothing stands behind the end token."""
    chat = CHATML.replace("'<|im_end|>' + '\\n'", f"'<|im_end|>' + '{tail}'")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=272, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_labels=1,
        pad_token_id=2, eos_token_id=2, initializer_range=0.2,
    )  # fmt: skip
    LlamaForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer = chat_tokenizer(chat)
    tokenizer.pad_token = "<|im_end|>"
    tokenizer.save_pretrained(tmp_path)
    plain, lm = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval(), load_reward_model(tmp_path)
    lm.save(tmp_path / "again")
    for prompt, text in ((PROMPTS[0], "yes"), (PROMPTS[1], "No, it is not.")):
        turns = [{"role": turn.role, "content": turn.content} for turn in (*prompt.turns, Turn("assistant", text))]
        rendered = tokenizer(tokenizer.apply_chat_template(turns, tokenize=False), add_special_tokens=False)
        with torch.no_grad():
            card = plain(torch.tensor([rendered.input_ids])).logits[0, 0]
        for scorer in (lm, load_reward_model(tmp_path / "again")):
            encoded = scorer.encode(prompt, Completion(text), 64)
            with torch.no_grad():
                ours = forward.scores(scorer.model, collate([encoded.prompt], [encoded.answer]))[0]
            torch.testing.assert_close(ours, card, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("own", "base_pad"), [(True, 3), (False, 3), (False, 2)])
def test_foreign_adapters_are_read_at_their_own_padding(own: bool, base_pad: int, tmp_path: Path) -> None:
    """Protects scores of reward models that peft saved as adapters alone: the padding token is that of the tokenizer beside
    them, which may end answers, and without a tokenizer that of their base model."""
    chat = CHATML.replace("'<|im_end|>' + '\\n'", "'<|im_end|>'")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=272, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        pad_token_id=base_pad, eos_token_id=2, initializer_range=0.2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "base")
    tokenizer = chat_tokenizer(chat)
    tokenizer.save_pretrained(tmp_path / "base")
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=1)
    adapted = get_peft_model(base, LoraConfig(task_type="SEQ_CLS", r=2, init_lora_weights=False)).eval()
    adapted.save_pretrained(str(tmp_path / "adapters"))
    if own:
        tokenizer.pad_token = "<|im_end|>"
        tokenizer.save_pretrained(tmp_path / "adapters")
        base.config.pad_token_id = 2
    lm = load_reward_model(tmp_path / "adapters")
    for prompt, text in ((PROMPTS[0], "yes"), (PROMPTS[1], "No, it is not.")):
        turns = [{"role": turn.role, "content": turn.content} for turn in (*prompt.turns, Turn("assistant", text))]
        rendered = tokenizer(tokenizer.apply_chat_template(turns, tokenize=False), add_special_tokens=False)
        encoded = lm.encode(prompt, Completion(text), 64)
        with torch.no_grad():
            card = adapted(torch.tensor([rendered.input_ids])).logits[0, 0]
            ours = forward.scores(lm.model, collate([encoded.prompt], [encoded.answer]))[0]
        torch.testing.assert_close(ours, card, atol=1e-4, rtol=1e-4)


def test_our_own_reward_model_reads_the_end_token(saved: dict[str, Path], tmp_path: Path) -> None:
    """Protects reward models that preflab has trained, before and after it wrote down what they read: they were trained to
    score at the end token, and a newline behind it changes nothing."""
    scorer = make_reward_model(load_directory(saved["qwen2"]), seed=4)
    scorer.save(tmp_path)
    answer = Completion("yes")
    assert load_reward_model(tmp_path).encode_completion(answer) == scorer.encode_completion(answer)
    assert scorer.encode_completion(answer)[-1] == scorer.end_ids[0]
    (tmp_path / FACTS_FILE).unlink()  # as an older preflab saved it, with only the data that it was trained on beside
    (tmp_path / TRAINED_ON).write_text("[]")
    assert load_reward_model(tmp_path).encode_completion(answer) == scorer.encode_completion(answer)
    (tmp_path / TRAINED_ON).unlink()
    assert load_reward_model(tmp_path).encode_completion(answer)[-1] != scorer.end_ids[0]
