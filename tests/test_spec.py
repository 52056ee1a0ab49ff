"""Specs: unknown keys refused at every depth with the nearest right name, plugins by path or entry point, round trips."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from preflab import spec as spec_module
from preflab.errors import UserError
from preflab.evaluation import EVALUATORS
from preflab.evaluation.settings import Evaluation
from preflab.methods import METHODS
from preflab.methods.dpo import DPO
from preflab.methods.sft import SFT
from preflab.models.spec import LoRA, ModelSpec
from preflab.rewards import REWARDS
from preflab.rewards.base import Reward
from preflab.sampling import SAMPLERS
from preflab.sampling.base import Sampler
from preflab.spec import Registry, Spec, optional_variant, parse_spec, read_spec, require_base
from preflab.testbeds import TESTBEDS
from preflab.testbeds.base import Testbed, require_testbed
from preflab.types import Prompt, Split

REGISTRIES = (METHODS, TESTBEDS, REWARDS, EVALUATORS, SAMPLERS)
NEEDED: dict[str, dict[str, Any]] = {  # fields without a default
    "learned": {"path": "runs/rm"},
    "function": {"target": "my_rewards:brevity"},
    "command": {"command": "./score --fast"},
    "http": {"url": "http://localhost:8000/score"},
    "jsonl": {"data": "data.jsonl"},
    "math": {"data": "data.jsonl"},
    "lm-eval": {"tasks": {"mini": "acc"}},
    "safety": {"reward": "runs/reward", "cost": "runs/cost"},
    "reward-model": {"model": {"path": "runs/evaluator"}},
    "warm": {"models": ["runs/rm-0", "runs/rm-1"]},
    "ensemble": {"models": ["runs/rm-0", "runs/rm-1"]},
}


class Deep(Spec):
    """A spec with a spec in every kind of place."""

    model: ModelSpec = ModelSpec()
    several: tuple[LoRA, ...] = ()
    named: dict[str, LoRA] = Field(default_factory=dict)
    method: Annotated[Any, *optional_variant(METHODS)] = None


def needed(registry: Registry, kind: str) -> dict[str, Any]:
    required = {name for name, info in registry.load(kind).model_fields.items() if info.is_required()}
    return {name: value for name, value in NEEDED.get(kind, {}).items() if name in required}


@pytest.mark.parametrize(("registry", "kind"), [(r, k) for r in REGISTRIES for k in sorted(r.known)])
def test_every_variant_goes_through_plain_data(registry: Registry, kind: str) -> None:
    """Protects run files and manifests: each registered name loads, carries its own tag, refuses an unknown key, and what
    `dump` writes `parse` reads back equal."""
    cls = registry.load(kind)
    assert cls.model_fields["kind"].default == kind
    parsed = registry.parse({"kind": kind, **needed(registry, kind)})
    dumped = registry.dump(parsed)
    assert dumped["kind"] == kind
    assert registry.parse(json.loads(json.dumps(dumped))) == parsed
    assert registry.parse(parsed) is parsed
    with pytest.raises(UserError, match=r"unknown key `no_such_key`\..*Known:"):
        registry.parse({"kind": kind, **needed(registry, kind), "no_such_key": 1})


def test_specs_are_frozen() -> None:
    """Protects the principle: a spec is data; what a run directory says of a run is what it was."""
    with pytest.raises(ValueError, match="frozen"):
        SFT().epochs = 5  # type: ignore[misc]  # what must be refused


@pytest.mark.parametrize(
    ("data", "place", "nearest"),
    [
        ({"modle": {}}, "modle", "model"),
        ({"model": {"revison": "x"}}, "model.revison", "revision"),
        ({"model": {"tiny": {"widht": 8}}}, "model.tiny.widht", "width"),
        ({"model": {"lora": {"rnak": 8}}}, "model.lora.rnak", "rank"),  # LoRA | None
        ({"several": [{"rank": 2}, {"alhpa": 8}]}, "several.1.alhpa", "alpha"),
        ({"named": {"x": {"targtes": []}}}, "named.x.targtes", "targets"),
        ({"method": {"kind": "dpo", "betta": 1}}, "betta", "beta"),
        ({"method": {"kind": "dpo", "optim": {"warmpu": 0.1}}}, "optim.warmpu", "warmup"),
        ({"method": {"kind": "dpo-iter", "draw": {"decoding": {"top_kk": 1}}}}, "draw.decoding.top_kk", "top_k"),
    ],
)
def test_unknown_keys_at_every_depth(data: dict[str, Any], place: str, nearest: str) -> None:
    """Protects from a misspelt setting that silently keeps its default, wherever it stands."""
    with pytest.raises(UserError) as caught:
        parse_spec(Deep, data, where="study.yaml")
    message = str(caught.value)
    assert message.startswith("study.yaml: ")
    assert f"unknown key `{place}`. Did you mean '{nearest}'?" in message


class Few(Spec):
    k: list[int] = Field(min_length=1, max_length=2)
    by_name: dict[str, int] = {}


def test_wrong_values_are_named_with_what_was_given() -> None:
    """Protects the user: every wrong field at once, with its place and the value."""
    with pytest.raises(UserError) as caught:
        parse_spec(Deep, {"model": {"tiny": {"width": "wide"}, "lora": {"rank": 0}}}, where="f")
    assert "`model.tiny.width`" in str(caught.value) and '"wide"' in str(caught.value)
    assert "`model.lora.rank`" in str(caught.value)
    with pytest.raises(UserError, match="samples"):
        parse_spec(Evaluation, {"k": [1, 9], "samples": 8}, where="f")
    with pytest.raises(UserError, match=r"f is empty\. It must contain keys"):
        parse_spec(Deep, None, where="f")
    with pytest.raises(UserError, match="dictionary"):
        parse_spec(Deep, [], where="f")


def test_reasons_are_said_in_plain_words() -> None:
    """Protects the user from the validator's words, and from a second line that a key holds."""
    with pytest.raises(UserError, match=r"`k`: the number of items must be at least 1 \(given: \[\]\)"):
        parse_spec(Few, {"k": []}, where="f")
    with pytest.raises(UserError, match=r"`k`: the number of items must be at most 2"):
        parse_spec(Few, {"k": [1, 2, 3]}, where="f")
    with pytest.raises(UserError) as refusal:
        parse_spec(Few, {"k": [1], "by_name": {"a\nb": "x"}}, where="f")
    assert "\n" not in str(refusal.value)


def test_unknown_names_give_the_nearest() -> None:
    """Protects the user: the nearest right name, then all of them; a mapping without `kind` says what it needs."""
    with pytest.raises(UserError, match=r"Unknown method 'dpo-itre'.*Did you mean 'dpo-iter'\?.*Known: .*sft"):
        METHODS.parse("dpo-itre")
    with pytest.raises(UserError, match="needs a `kind`"):
        METHODS.parse({"beta": 1})
    with pytest.raises(UserError, match="needs a `kind`"):
        METHODS.parse(3)
    with pytest.raises(UserError, match="needs a `kind`"):
        METHODS.parse("")


PLUGIN = """
from typing import Literal
from preflab.methods.dpo import DPO

class Mine(DPO):
    kind: Literal["mine"] = "mine"
    extra: int = 3

def helper():
    return Mine
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the current directory, which is not on the path."""
    (tmp_path / "my_plugin.py").write_text(PLUGIN)
    (tmp_path / "my_broken.py").write_text("this is no python\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_plugin", raising=False)
    return "my_plugin:Mine"


def test_a_class_by_its_path(plugin: str) -> None:
    """Protects users from forking: `module:Class` works wherever a name does, with settings, and goes through a file."""
    parsed = METHODS.parse({"kind": plugin, "extra": 5, "beta": 0.2})
    assert (parsed.kind, parsed.extra, parsed.beta) == ("mine", 5, 0.2)
    dumped = METHODS.dump(parsed)
    assert dumped["kind"] == plugin
    assert METHODS.parse(dumped) == parsed
    assert METHODS.parse(plugin) == type(parsed)()
    with pytest.raises(UserError, match=r"unknown key `exrta`\. Did you mean 'extra'"):
        METHODS.parse({"kind": plugin, "exrta": 5})


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("my_plugin:Mien", "Did you mean 'Mine'"),
        ("my_plugin:helper", "must be a class that derives from preflab.methods.spec.Method"),
        ("no_such_plugin:Mine", "no module 'no_such_plugin'"),
        ("my_broken:Mine", "does not load"),
        ("my_plugin:", "my_plugin:"),
    ],
)
def test_a_path_that_is_wrong(plugin: str, target: str, message: str) -> None:
    """Protects the user from a traceback: which half of the path is wrong."""
    with pytest.raises(UserError, match=message):
        METHODS.parse(target)


def test_a_class_by_its_entry_point(plugin: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Protects plugins that are installed: their names stand beside preflab's own, and are what is written down."""
    points = [
        importlib.metadata.EntryPoint("mine", plugin, "preflab.methods"),
        importlib.metadata.EntryPoint("broken", "my_broken:Mine", "preflab.methods"),
    ]

    def entry_points(group: str) -> list[importlib.metadata.EntryPoint]:
        return [point for point in points if point.group == group]

    monkeypatch.setattr(spec_module, "entry_points", entry_points)
    monkeypatch.setattr(spec_module, "read_plugins", spec_module.read_plugins.__wrapped__)  # the names are read once
    monkeypatch.syspath_prepend(tmp_path)
    assert {"mine", "dpo"} <= set(METHODS.names())
    assert "mine" not in TESTBEDS.names()
    parsed = METHODS.parse({"kind": "mine", "extra": 4})
    assert METHODS.dump(parsed) == {**METHODS.dump(parsed), "kind": "mine", "extra": 4}
    assert METHODS.parse(METHODS.dump(parsed)) == parsed
    with pytest.raises(UserError, match="'broken' does not load from 'my_broken:Mine'"):
        METHODS.parse("broken")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run.yaml", "model: {name: tiny, lora: {rank: 4}}\nmethod: {kind: dpo, optim: {learning_rate: 1e-5}}\n"),
        (
            "run.toml",
            '[model]\nname = "tiny"\nlora = {rank = 4}\n[method]\nkind = "dpo"\noptim = {learning_rate = 1e-5}\n',
        ),
        (
            "run.json",
            '{"model": {"name": "tiny", "lora": {"rank": 4}}, "method": {"kind": "dpo", "optim": {"learning_rate": 1e-5}}}',
        ),
    ],
)
def test_files(tmp_path: Path, name: str, text: str) -> None:
    """Protects run files in each format (YAML reads 1e-5 as a word): equal specs, and what is dumped is read back."""
    (tmp_path / name).write_text(text)
    spec = read_spec(Deep, tmp_path / name)
    assert spec.model.lora == LoRA(rank=4)
    assert isinstance(spec.method, DPO) and spec.method.optim.learning_rate == 1e-5
    assert parse_spec(Deep, spec.model_dump(mode="json"), where="again") == spec


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Protects the user: the file, the field, and what is wrong; no traceback."""
    with pytest.raises(UserError, match=r"no file .*absent\.yaml"):
        read_spec(Deep, tmp_path / "absent.yaml")
    for name, data in (("a.yaml", b"model: [1"), ("a.toml", b"model = "), ("b.yaml", b"\xff\xfe\xfa")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=rf"{name} cannot be read"):
            read_spec(Deep, tmp_path / name)
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(UserError, match=r"empty\.yaml"):
        read_spec(Deep, tmp_path / "empty.yaml")
    (tmp_path / "c.yaml").write_text("method: {kind: dpoo}\n")
    with pytest.raises(UserError, match=r"c\.yaml: .*Did you mean 'dpo'"):
        read_spec(Deep, tmp_path / "c.yaml")


def test_a_bare_name_is_a_spec() -> None:
    """Protects short files: `method: sft`, `model: tiny`; and None stays none."""
    spec = parse_spec(Deep, {"method": "sft", "model": "tiny"}, where="f")
    assert spec.method == SFT() and spec.model == ModelSpec()
    assert parse_spec(Deep, {}, where="f").method is None
    assert Deep(method=SFT()).model_dump(mode="json")["method"]["kind"] == "sft"


class PromptsOnly(Testbed):
    """A testbed that says no more than it must."""

    name = "few"

    def prompts(self, split: Split) -> list[Prompt]:
        return []


def test_what_lacks_the_base_is_refused_when_opened() -> None:
    """Protects the user from an AttributeError in the middle of a run: the base class has every default, and is asked for by
    name where a part is opened."""
    with pytest.raises(
        UserError, match=r"opened a .*PromptsOnly, which must derive from preflab\.rewards\.base\.Reward"
    ):
        require_base(PromptsOnly(), Reward)
    with pytest.raises(
        UserError, match=r"opened a builtins\.int, which must derive from preflab\.testbeds\.base\.Testbed"
    ):
        require_testbed(1)
    with pytest.raises(
        UserError, match=r"opened a builtins\.int, which must derive from preflab\.sampling\.base\.Sampler"
    ):
        require_base(1, Sampler)
    unjudged = PromptsOnly()
    unjudged.judge = len  # type: ignore[assignment]
    with pytest.raises(UserError, match="judge of the testbed few is a builtins"):
        require_testbed(unjudged)


def test_a_testbed_of_prompts_alone() -> None:
    """Protects small plugins: prompts are enough; everything else has a default that says what is missing."""
    few = require_testbed(PromptsOnly())
    assert (few.words(), few.notes, few.provenance(), few.rankings("train"), few.rated("train"), few.tested) == (
        *((), (), None, (), ()),
        False,
    )
    for ask, message in (
        (few.demonstrations, "few has no answers to imitate in its train split"),
        (few.preferences, "few has no pairs in its train split"),
        (few.hidden_tests, "few has no hidden tests in its train split"),
        (lambda split: few.judge([("a", ())]), "no tests to run"),
    ):
        with pytest.raises(UserError, match=message):
            ask("train")
