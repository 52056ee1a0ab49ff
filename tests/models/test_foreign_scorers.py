"""Reward models in the layouts of OpenAssistant and safe-rlhf: the golden score of a tiny checkpoint of each, by plain torch.

The expected scores are computed here from the saved tensors and a sequence that is written by hand; nothing of the reading
under test takes part.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.models.conftest import byte_level
from transformers import GPTNeoXConfig, GPTNeoXModel, LlamaConfig, LlamaModel, PreTrainedTokenizerFast

from preflab.errors import UserError
from preflab.models import locate
from preflab.models.cost_head import load_cost_model
from preflab.models.foreign_scorers import find_layout
from preflab.models.heads import load_reward_model, load_scorer
from preflab.models.spec import ModelSpec
from preflab.rewards import parse_cost, parse_reward
from preflab.rewards.learned import Learned
from preflab.rewards.learned_cost import LearnedCost
from preflab.spec import Context
from preflab.types import Completion, Prompt, Turn

WIDTH = 32
ASKED = Prompt("a", (Turn("user", "Hi there"),))
LONG = Prompt("b", (Turn("user", "One?"), Turn("assistant", "Two."), Turn("user", " And then?")))
ROWS = [(ASKED, Completion("I am fine.")), (LONG, Completion("Four")), (ASKED, Completion("No"))]
OASST_TEXTS = [
    "<|prompter|>Hi there<|endoftext|><|assistant|>I am fine.<|endoftext|>",
    "<|prompter|>One?<|endoftext|><|assistant|>Two.<|endoftext|><|prompter|> And then?<|endoftext|><|assistant|>Four"
    "<|endoftext|>",
    "<|prompter|>Hi there<|endoftext|><|assistant|>No<|endoftext|>",
]
BEAVER_TEXTS = [
    "<s>BEGINNING OF CONVERSATION: USER: Hi there ASSISTANT:I am fine.</s>",
    "<s>BEGINNING OF CONVERSATION: USER: One? ASSISTANT:Two.</s>USER:  And then? ASSISTANT:Four</s>",
    "<s>BEGINNING OF CONVERSATION: USER: Hi there ASSISTANT:No</s>",
]


def save_oasst(directory: Path, **settings: Any) -> Path:
    """As OpenAssistant saves it: trunk `gpt_neox`, head `out_proj` with a bias, the masks that old versions of transformers
    saved, a tokenizer without a chat template whose padding token is its end token."""
    directory.mkdir(parents=True)
    special = ["<|endoftext|>", "<|prompter|>", "<|assistant|>", "<|system|>"]
    torch.manual_seed(3)
    config = GPTNeoXConfig(
        vocab_size=272,
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        eos_token_id=0,
        bos_token_id=0,
    )
    state = {f"gpt_neox.{name}": tensor for name, tensor in GPTNeoXModel(config).state_dict().items()}
    state |= {"out_proj.weight": torch.randn(1, WIDTH), "out_proj.bias": torch.tensor([0.75])}
    for layer in range(2):
        state[f"gpt_neox.layers.{layer}.attention.bias"] = torch.ones(1, 1, 8, 8, dtype=torch.bool)
        state[f"gpt_neox.layers.{layer}.attention.masked_bias"] = torch.tensor(-1e9)
    own = {"architectures": ["GPTNeoXRewardModel"], "model_type": "gpt_neox_reward_model", "pooling": "last"}
    return write(directory, config, state, own | settings, byte_level(special), "<|endoftext|>", "<|endoftext|>")


def save_beaver(directory: Path, *, biased: bool = True, **settings: Any) -> Path:
    """As safe-rlhf saves it: trunk `model`, head `score_head`, the buffers of the normaliser, the rotary frequencies that
    old versions of transformers saved."""
    directory.mkdir(parents=True)
    torch.manual_seed(4)
    config = LlamaConfig(
        vocab_size=272,
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
    )
    state = {f"model.{name}": tensor for name, tensor in LlamaModel(config).state_dict().items()}
    state |= {"score_head.weight": torch.randn(1, WIDTH), "normalizer.mean": torch.tensor([0.5])}
    state |= {"normalizer.var": torch.tensor([4.0]), "normalizer.count": torch.tensor([10])}
    state |= {"score_head.bias": torch.tensor([0.25])} if biased else {}
    for layer in range(2):
        state[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    own = {"architectures": ["LlamaForScore"], "model_type": "llama", "score_dim": 1, "score_type": "reward"}
    tokenizer = byte_level(["<unk>", "<s>", "</s>", "<pad>"])
    return write(
        directory, config, state, own | {"do_normalize": False} | settings, tokenizer, "</s>", "<pad>", bos="<s>"
    )


def write(
    directory: Path,
    config: Any,
    state: dict[str, torch.Tensor],
    own: dict[str, Any],
    tokenizer: Any,
    end: str,
    pad: str,
    bos: str | None = None,
) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(config.to_dict() | own))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=end, pad_token=pad, bos_token=bos or end, unk_token=end
    ).save_pretrained(directory)
    return directory


def last_states(directory: Path, trunk: Any, prefix: str, text: str, *, mean: bool = False) -> torch.Tensor:
    """The state of the last token of a text, or the mean of all, from the saved trunk alone."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(directory)
    weights = load_file(directory / "model.safetensors")
    trunk.load_state_dict({name.removeprefix(prefix): tensor for name, tensor in weights.items()}, strict=False)
    ids = torch.tensor([tokenizer(text, add_special_tokens=False).input_ids])
    with torch.no_grad():
        hidden = trunk.eval()(input_ids=ids).last_hidden_state[0]
    return hidden.mean(dim=0) if mean else hidden[-1]


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_golden_score_of_open_assistant(pooling: str, tmp_path: Path) -> None:
    """Protects the paper's evaluator on HH: trunk, bias, pooling, and the dialogue with an end token after every turn, at
    the last of which the score is read, although it is the padding token too."""
    place = save_oasst(tmp_path / "rm", pooling=pooling)
    tensors, config = load_file(place / "model.safetensors"), json.loads((place / "config.json").read_text())
    trunk = GPTNeoXModel(GPTNeoXConfig(**{name: value for name, value in config.items() if name != "model_type"}))
    expected = [
        float(tensors["out_proj.weight"] @ last_states(place, trunk, "gpt_neox.", text, mean=pooling == "mean")) + 0.75
        for text in OASST_TEXTS
    ]
    with Learned(path=str(place)).open(Context()) as reward:
        scores = reward.score(*zip(*ROWS, strict=True))
        alone = [reward.score([prompt], [answer])[0] for prompt, answer in ROWS]
    assert scores == pytest.approx(expected, abs=1e-4) and alone == pytest.approx(expected, abs=1e-4)
    assert load_scorer(place).role == "reward" and max(scores) - min(scores) > 0.1


@pytest.mark.parametrize(
    ("settings", "biased", "slope", "shift"),
    [
        ({}, True, 1.0, 0.25),
        ({"architectures": ["LlamaModelForScore"], "bias": False}, False, 1.0, 0.0),
        ({"do_normalize": True}, True, 1 / 2.00000001, (0.25 - 0.5) / 2.00000001),
        ({"do_normalize": True, "score_type": "cost"}, True, 1 / 2.00000001, 0.25 / 2.00000001),
    ],
)
def test_a_golden_score_of_beaver(
    settings: dict[str, Any], biased: bool, slope: float, shift: float, tmp_path: Path
) -> None:
    """Protects the paper's evaluators on SafeRLHF: h w + b at the end token; normalised, a reward is (s - .5) / (2 + 1e-8) and
    a cost s / (2 + 1e-8), whose sign stays. The name of the class and the bias depend on safe-rlhf's version."""
    place = save_beaver(tmp_path / "scorer", biased=biased, **settings)
    tensors, config = load_file(place / "model.safetensors"), json.loads((place / "config.json").read_text())
    trunk = LlamaModel(LlamaConfig(**{name: value for name, value in config.items() if name != "model_type"}))
    weight = tensors["score_head.weight"]
    expected = [slope * float(weight @ last_states(place, trunk, "model.", text)) + shift for text in BEAVER_TEXTS]
    is_cost = settings.get("score_type") == "cost"
    spec = LearnedCost(path=str(place)) if is_cost else Learned(path=str(place))
    with spec.open(Context()) as scorer:
        scores = scorer.score(*zip(*ROWS, strict=True))
    assert scores == pytest.approx(expected, abs=1e-4) and max(scores) - min(scores) > 0.1
    refused = load_reward_model if is_cost else load_cost_model
    with pytest.raises(UserError, match="is a cost model" if is_cost else "is a reward model"):
        refused(place)


def test_the_config_stands_in_for_missing_buffers(tmp_path: Path) -> None:
    """Protects checkpoints that keep the normaliser's moments in config.json alone."""
    place = save_beaver(tmp_path / "scorer", do_normalize=True, mean=[1.0], var=[9.0])
    with Learned(path=str(place)).open(Context()) as reward:
        by_buffers = reward.score([ASKED], [Completion("No")])[0]
    tensors = load_file(place / "model.safetensors")
    save_file(
        {name: tensor for name, tensor in tensors.items() if not name.startswith("normalizer")},
        place / "model.safetensors",
    )
    with Learned(path=str(place)).open(Context()) as reward:
        by_config = reward.score([ASKED], [Completion("No")])[0]
    assert by_config == pytest.approx((by_buffers * 2 + 0.5 - 1.0) / 3, abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "biased", "said"),
    [
        ({"score_type": "critic"}, True, "does not judge a whole answer"),
        ({"score_bias": True}, False, r"among them score_head\.bias"),
    ],
)
def test_what_scores_no_dialogue_is_refused(settings: dict[str, Any], biased: bool, said: str, tmp_path: Path) -> None:
    """Protects from a critic's values and from a damaged head."""
    with pytest.raises(UserError, match=said):
        load_scorer(save_beaver(tmp_path / "x", biased=biased, **settings))


def test_dialogues_that_the_formats_do_not_have_are_refused(tmp_path: Path) -> None:
    """Protects from a system turn that safe-rlhf's format would lose, an unknown pooling, and a file without a layout."""
    place = save_beaver(tmp_path / "beaver")
    told = Prompt("c", (Turn("system", "Be brief."), Turn("user", "Hi")))
    with (
        Learned(path=str(place)).open(Context()) as reward,
        pytest.raises(UserError, match="does not accept prompt 'c'"),
    ):
        reward.score([told], [Completion("No")])
    with pytest.raises(UserError, match="`pooling` is 'first'"):
        load_scorer(save_oasst(tmp_path / "oasst", pooling="first"))
    assert find_layout(tmp_path) is None


def test_pickles_are_refused_and_convert(tmp_path: Path) -> None:
    """Protects the way that the documentation shows for checkpoints that exist as pickles alone: the same score."""
    place = save_beaver(tmp_path / "beaver")
    expected = load_score(place)
    torch.save(load_file(place / "model.safetensors"), place / "pytorch_model.bin")
    (place / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no safetensors files.*Models from elsewhere"):
        load_scorer(place)
    page = (Path(__file__).parents[2] / "docs/rewards.md").read_text()
    block = page.partition("## Models from elsewhere")[2].partition("```python\n")[2].partition("```")[0]
    exec(block.replace("path/to/model", str(place)), {})
    assert load_score(place) == expected


def load_score(place: Path) -> float:
    with Learned(path=str(place)).open(Context()) as reward:
        return reward.score([ASKED], [Completion("No")])[0]


def test_names_on_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Protects the paper's evaluators by name: `owner/name` is fetched like any model, at a revision if one is named, and a
    path is a path."""
    place, asked = save_beaver(tmp_path / "beaver"), []
    monkeypatch.setattr(locate, "fetch_from_hub", lambda spec: asked.append((spec.name, spec.revision)) or place)
    name = "PKU-Alignment/beaver-7b-v1.0-reward"
    assert parse_reward(name) == Learned(path=name) and parse_cost(name) == LearnedCost(path=name)
    assert locate.locate_scorer(name) == place and asked == [(name, None)]
    assert locate.locate_scorer(f"{name}@v1.2") == place and asked[-1] == (name, "v1.2")
    assert ModelSpec.model_validate(f"{name}@v1.2") == ModelSpec(name=name, revision="v1.2")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "a@b").mkdir()
    monkeypatch.chdir(tmp_path)
    assert ModelSpec.model_validate("runs/a@b").name == "runs/a@b"
    assert locate.locate_scorer(str(place)) == place and locate.locate_scorer("runs/a/final") == Path("runs/a/final")
    with Learned(path=name).open(Context()) as reward:
        assert reward.score([ASKED], [Completion("No")]) == [load_score(place)]
