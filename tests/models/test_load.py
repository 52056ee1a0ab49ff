"""Loading: what preflab derives from any model's files, and every way in which they can be wrong."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from tests.models.test_families import check_logprobs, save_family
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertForMaskedLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from preflab.errors import UserError
from preflab.models import load as loading
from preflab.models.load import load_directory, load_model
from preflab.models.spec import ModelSpec


def test_spec_and_loader_import_no_torch() -> None:
    """Protects the study plan and the CLI's start: naming a model loads no torch."""
    code = "import sys, preflab.models.load; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_gpt2_gets_template_and_padding(saved: dict[str, Path]) -> None:
    """Protects base models: a plain template; the one special token ends, so padding needs a new token and row.

    The new row is the mean of the 257 others, so that the new token is never likelier than an average one.
    """
    lm = load_directory(saved["gpt2"])
    assert lm.tokenizer.chat_template
    assert lm.end_ids == (0,)
    assert (lm.pad_id, lm.tokenizer.pad_token) == (257, "<pad>")
    weight = lm.model.get_input_embeddings().weight
    assert weight.shape[0] == 258
    torch.testing.assert_close(weight[257], weight[:257].mean(0))
    assert lm.context == 128


def test_qwen2_ends(saved: dict[str, Path]) -> None:
    """Protects the order of end ids: <|im_end|> = 2, which the template writes, then <|endoftext|> = 0 of the
    generation settings. The padding token was an end; the new one, 259, takes a spare row of the 272."""
    lm = load_directory(saved["qwen2"])
    assert lm.end_ids == (2, 0)
    assert (lm.pad_id, lm.tokenizer.pad_token) == (259, "<pad>")
    assert lm.model.get_input_embeddings().weight.shape[0] == 272
    assert lm.model.generation_config.eos_token_id == [2, 0]


def test_llama_pads_with_an_idle_special_token(saved: dict[str, Path]) -> None:
    """Protects models with pad == eos: an idle special token pads, and no weights change."""
    lm = load_directory(saved["llama"])
    assert lm.end_ids == (lm.tokenizer.convert_tokens_to_ids("</s>"),)
    assert lm.tokenizer.pad_token == "<pad>"
    assert lm.pad_id not in lm.end_ids


def test_loading_leaves_global_random_state(family: Path) -> None:
    """Protects reproducibility: what is loaded, and whether rows are added, moves no global random state."""
    torch.manual_seed(5)
    before = torch.get_rng_state()
    load_directory(family)
    assert torch.equal(torch.get_rng_state(), before)


def test_loaded_in_fp32_and_evaluation_mode(family: Path) -> None:
    """Protects training: fp32 weights and no dropout, whatever the file holds."""
    lm = load_model(ModelSpec(name=str(family)), seed=0)
    assert {parameter.dtype for parameter in lm.model.parameters()} == {torch.float32}
    assert not lm.model.training


def copied(source: Path, target: Path, **changes: object) -> Path:
    """A copy of a saved model with keys of its config.json changed (None removes one)."""
    shutil.copytree(source, target)
    config = json.loads((target / "config.json").read_text())
    config.update(changes)
    (target / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return target


def test_no_config(tmp_path: Path) -> None:
    """Protects the user from a traceback when the directory is not a model, or holds adapters that name no base model."""
    with pytest.raises(UserError, match=r"no config\.json"):
        load_directory(tmp_path)
    (tmp_path / "final").mkdir()
    (tmp_path / "final" / "config.json").write_text("{}")
    with pytest.raises(UserError, match=f"Did you mean {tmp_path}/final"):
        load_directory(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="base_model_name_or_path"):
        load_directory(tmp_path)


def test_no_end_token(saved: dict[str, Path], tmp_path: Path) -> None:
    """Protects from answers that can never end."""
    path = copied(saved["gpt2"], tmp_path / "m", eos_token_id=None)
    config = json.loads((path / "tokenizer_config.json").read_text())
    del config["eos_token"]
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    (path / "generation_config.json").write_text("{}")
    (path / "config.json").write_text((path / "config.json").read_text().replace("{", '{"eos_token_id": null,', 1))
    with pytest.raises(UserError, match="no end token"):
        load_directory(path)


@pytest.mark.parametrize("value", ["x", [0, "x"], 1.5, True])
def test_end_ids_that_are_no_whole_numbers(saved: dict[str, Path], tmp_path: Path, value: object) -> None:
    """Protects `sample` from a traceback: the file is named, with what must stand there."""
    path = copied(saved["qwen2"], tmp_path / "m")
    (path / "generation_config.json").write_text(json.dumps({"eos_token_id": value}))
    with pytest.raises(UserError, match=r"generation_config\.json: eos_token_id is .* whole number"):
        load_directory(path)


def test_end_ids_without_a_row_end_nothing(saved: dict[str, Path], tmp_path: Path) -> None:
    """Protects the list of end ids: an id that the model can never write is not in it, and a model with no other has none."""
    path = copied(saved["qwen2"], tmp_path / "m")
    (path / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, 2, 99999, -1]}))
    assert load_directory(path).end_ids == (2, 0)


def test_not_causal(tmp_path: Path) -> None:
    """Protects from an encoder or encoder-decoder, whose states look to the right."""
    bert = BertConfig(vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    BertForMaskedLM(bert).save_pretrained(tmp_path / "bert")
    t5 = T5Config(vocab_size=60, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    T5ForConditionalGeneration(t5).save_pretrained(tmp_path / "t5")
    for name in ("bert", "t5"):
        with pytest.raises(UserError, match="not a causal language model"):
            load_directory(tmp_path / name)


def test_damaged_weights(saved: dict[str, Path], tmp_path: Path) -> None:
    """Protects from a half-copied file: it is named."""
    path = copied(saved["gpt2"], tmp_path / "m")
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        load_directory(path)


def test_weights_that_are_not_finite(saved: dict[str, Path], tmp_path: Path) -> None:
    """Protects from NaN weights, which were a traceback: the model is named, with what to do."""
    model = AutoModelForCausalLM.from_pretrained(copied(saved["gpt2"], tmp_path / "m"))
    next(model.parameters()).data.fill_(float("nan"))
    model.save_pretrained(tmp_path / "m")
    with pytest.raises(UserError, match=r"not finite numbers .* weights are damaged"):
        load_directory(tmp_path / "m")


def test_missing_weights(saved: dict[str, Path], tmp_path: Path) -> None:
    """Protects from weights that are silently drawn at random: a third layer, and a shape, that the file lacks."""
    with pytest.raises(UserError, match="lacks weights"):
        load_directory(copied(saved["gpt2"], tmp_path / "deeper", n_layer=3))
    with pytest.raises(UserError):
        load_directory(copied(saved["gpt2"], tmp_path / "longer", n_positions=256))


def test_pickles_are_refused(saved: dict[str, Path], tmp_path: Path) -> None:
    """Protects from code in weights: a .bin is never read, and the message says how to convert it."""
    path = copied(saved["gpt2"], tmp_path / "m")
    (path / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no weights"):
        load_directory(path)
    torch.save({}, path / "pytorch_model.bin")
    with pytest.raises(UserError, match="pickle"):
        load_directory(path)


def test_damaged_config_and_tokenizer(saved: dict[str, Path], tmp_path: Path) -> None:
    """Protects the user from a traceback of another library's parser."""
    path = copied(saved["gpt2"], tmp_path / "m")
    (path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="tokenizer"):
        load_directory(path)
    (path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json"):
        load_directory(path)


def test_tokenizer_of_another_model(saved: dict[str, Path], tmp_path: Path) -> None:
    """Protects from ids that the embedding does not have (an index error deep in training)."""
    path = copied(saved["gpt2"], tmp_path / "m")
    PreTrainedTokenizerFast.from_pretrained(saved["llama"]).save_pretrained(path)
    with pytest.raises(UserError, match="does not belong to the model"):
        load_directory(path)


def test_remote_code_is_off(saved: dict[str, Path], tmp_path: Path) -> None:
    """Protects from running a stranger's code: preflab refuses it and names the flag that allows it."""
    path = copied(
        saved["gpt2"],
        tmp_path / "m",
        model_type="own",
        auto_map={"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.M"},
    )
    (path / "own.py").write_text("raise SystemExit('ran')")
    with pytest.raises(UserError, match="trust_remote_code"):
        load_directory(path)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty hub cache, and a hub that may be asked."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path


def test_silent_hub_is_given_up(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the ten seconds: a hub that takes the connection and says nothing is one error after `HUB_PATIENCE`."""
    assert loading.HUB_PATIENCE < 10
    monkeypatch.setattr(loading, "HUB_PATIENCE", 1.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(UserError, match=r"'some/model'.*not in the local cache.*does not answer"):
            load_model(ModelSpec(name="some/model"), seed=0)


class Unknown(BaseHTTPRequestHandler):
    """The hub's answer to a name that it does not know."""

    def do_GET(self) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_unknown_name(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects a mistyped name: one error that says that neither directory nor hub know it."""
    server = HTTPServer(("127.0.0.1", 0), Unknown)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    try:
        with pytest.raises(UserError, match="the hub has no such model"):
            load_model(ModelSpec(name="some/model"), seed=0)
    finally:
        server.shutdown()
        server.server_close()


def test_offline_uses_the_cache_alone(hub: Path, monkeypatch: pytest.MonkeyPatch, saved: dict[str, Path]) -> None:
    """Protects HF_HUB_OFFLINE: no name leaves the machine; what is cached loads, what is not is one error."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"not in the local cache \(HF_HUB_OFFLINE is set\)"):
        load_model(ModelSpec(name="some/model"), seed=0)
    commit = "0" * 40
    repository = hub / "models--some--model"
    shutil.copytree(saved["qwen2"], repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    assert load_model(ModelSpec(name="some/model"), seed=0).end_ids == (2, 0)


@pytest.mark.parametrize("name", ["./no/such/place", "a/b/c", "no such model", " "])
def test_what_cannot_be_a_hub_name(hub: Path, name: str) -> None:
    """Protects a mistyped path: it is not asked for on the hub."""
    with pytest.raises(UserError, match=f"There is no directory {name!r}"):
        load_model(ModelSpec(name=name), seed=0)


def test_a_decoder_that_does_not_say_so(tmp_path: Path) -> None:
    """Protects GPT-NeoX and Pythia, whose config.json has no `is_decoder`: what the model does counts, not its name."""
    path = save_family("gpt_neox", tmp_path / "neox")
    config = json.loads((path / "config.json").read_text())
    config.pop("is_decoder", None)
    (path / "config.json").write_text(json.dumps(config))
    assert load_directory(path).end_ids == (2,)


def test_a_model_that_reads_both_ways(tmp_path: Path) -> None:
    """Protects from an encoder under the name of a causal model: a later token changes what it says before."""
    with pytest.raises(UserError, match="logits depend on later tokens"):
        load_directory(save_family("bert", tmp_path / "bert"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"num_hidden_layers": -1}, "num_hidden_layers is -1"),
        (
            {"num_hidden_layers": 10**7, "layer_types": None},
            "num_hidden_layers is 10000000, which is too large for the saved weights",
        ),
        ({"hidden_size": 10**9}, "hidden_size is 1000000000, which is too large for the saved weights"),
        ({"vocab_size": 10**9}, "vocab_size is 1000000000, which is too large for the saved weights"),
        ({"num_hidden_layers": 1}, r"config\.json cannot be read: .*num_hidden_layers"),
        ({"num_hidden_layers": 1, "layer_types": None}, r"contains layers .* among them model\.layers\.1"),
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"num_hidden_layers": "2"}, "num_hidden_layers is '2'"),
        ({"num_hidden_layers": 1.5}, r"num_hidden_layers is 1\.5"),
        ({"max_position_embeddings": -1}, "max_position_embeddings is -1"),
        ({"max_position_embeddings": 0}, "max_position_embeddings is 0"),
        ({"rope_theta": 0}, r"rope_theta is 0\. It must be a number greater than 0"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 0}}, "rope_theta is 0"),
        ({"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": -1.0}}}, r"rope_theta is -1\.0"),
        ({"head_dim": 7}, "lacks weights|cannot be read|does not run"),
    ],
)
def test_a_configuration_that_does_not_fit_its_weights(
    changes: dict[str, object], says: str, saved: dict[str, Path], tmp_path: Path
) -> None:
    """Protects from layers that are dropped in silence, from NaN, and from a traceback: one line names the field or
    the weights."""
    with pytest.raises(UserError, match=says) as refusal:
        load_directory(copied(saved["qwen2"], tmp_path / "m", **changes))
    assert "\n" not in str(refusal.value)


def test_a_base_model_that_is_the_causal_model(tmp_path: Path) -> None:
    """Protects Llama 4's text model: its log-probabilities are the plain model's."""
    path = save_family("llama4_text", tmp_path / "llama4")
    check_logprobs(load_directory(path), AutoModelForCausalLM.from_pretrained(path).eval())
