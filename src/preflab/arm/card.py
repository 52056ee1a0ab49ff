"""Writes the model card of a saved model, which is the README.md that the Hugging Face hub shows.

The card depends only on the arm and its result, so a repeated run writes the same card.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCardData

from preflab import __version__
from preflab.arm.result import TrainedResult
from preflab.arm.spec import Arm
from preflab.evaluation.result import Measurements
from preflab.methods import METHODS
from preflab.methods.spec import SCORERS
from preflab.testbeds import TESTBEDS

CARD = "README.md"
HUB_NAMES = {"smollm2": "HuggingFaceTB/SmolLM2-135M-Instruct"}
LOADING = """\
```python
from transformers import {auto}, AutoTokenizer

model = {auto}.from_pretrained("PATH OR NAME OF THIS MODEL")
tokenizer = AutoTokenizer.from_pretrained("PATH OR NAME OF THIS MODEL")
```
"""


def write_card(arm: Arm, result: TrainedResult, directory: Path) -> None:
    """Writes the card of a run's model into the directory where the model is saved."""
    (directory / CARD).write_text(make_card(arm, result), encoding="utf-8")


def make_card(arm: Arm, result: TrainedResult) -> str:
    """Returns the card as Markdown. The card begins with metadata for the hub. The text describes the model, how to
    load it, its data, its method and its measured results."""
    scores = dict(_measured(result))
    is_scorer = result.product in SCORERS
    start = _without_place(arm.init) if arm.init is not None else _base(arm)
    kind = {"reward_model": "A reward model", "cost_model": "A cost model"}.get(result.product, "A policy")
    settings = {} if arm.method is None else METHODS.dump(arm.method)
    adapters = "" if arm.model.lora is None else f" with low-rank adapters (rank {arm.model.lora.rank}), merged here,"
    parts = [
        f"# {arm.name}",
        f"{kind}, trained{adapters} by `{result.method}` of preflab {__version__}, with seed {arm.seed}.",
        f"- started from: `{start}`\n- parameters: {result.parameters:,}",
        "## How to load it",
        LOADING.format(auto="AutoModelForSequenceClassification" if is_scorer else "AutoModelForCausalLM"),
        "## Data",
        _as_yaml(TESTBEDS.dump(arm.testbed)),
        "\n".join(f"- {note}" for note in (*result.data_notes, *result.notices)),
        "## Method and settings",
        _as_yaml(settings | ({} if arm.reward is None else {"reward": arm.reward.kind_name})),
        "## Results",
        _as_table(scores) if scores else "This model was not measured.",
    ]
    return (
        f"---\n{_metadata(arm, result, scores).to_yaml()}\n---\n\n" + "\n\n".join(part for part in parts if part) + "\n"
    )


def _metadata(arm: Arm, result: TrainedResult, scores: Mapping[tuple[str, str], float]) -> ModelCardData:
    data = dict(TESTBEDS.dump(arm.testbed)).get("data")
    from_hub = isinstance(data, str) and data.count("/") == 1 and not Path(data).exists()
    base = _base(arm)
    task = "text-classification" if result.product in SCORERS else "text-generation"
    return ModelCardData(
        base_model=base if arm.init is None and base.count("/") == 1 and not Path(base).exists() else None,
        datasets=data if from_hub else None,
        library_name="transformers",
        pipeline_tag=task,
        tags=["preflab", result.method],
        model_name=arm.name,
        eval_results=[
            EvalResult(task, arm.testbed.kind_name, arm.testbed.kind_name, name, round(value, 6), dataset_split=split)
            for (split, name), value in scores.items()
        ]
        or None,
    )


def _base(arm: Arm) -> str:
    return HUB_NAMES.get(arm.model.name, _without_place(arm.model.name))


def _measured(result: TrainedResult) -> Iterator[tuple[tuple[str, str], float]]:
    """Yields each number of a result as ((split, name of the measure), value)."""
    if isinstance(result.evaluation, Measurements):
        kl = result.evaluation.unit.kl.estimate
        measures = result.evaluation.chosen.measures | ({} if kl is None else {"kl": kl})
        yield from ((("test", name), value) for name, value in measures.items())
    for split, held_out in (("validation", result.validation), ("test", result.held_out)):
        if held_out is not None:
            yield from (((split, name), value) for name, value in held_out.numbers.items())


def _without_place(name: str) -> str:
    """Returns the last two parts of `name` if it is an absolute path, so that the card does not show the user's
    folders. Returns any other name unchanged."""
    return "/".join(Path(name).parts[-2:]) if Path(name).is_absolute() else name


def _as_yaml(data: Mapping[str, Any]) -> str:
    plain = {key: _without_place(value) if isinstance(value, str) else value for key, value in data.items()}
    return f"```yaml\n{yaml.safe_dump(plain, sort_keys=False)}```"


def _as_table(scores: Mapping[tuple[str, str], float]) -> str:
    rows = [f"| {split} | {name} | {value:.4g} |" for (split, name), value in scores.items()]
    return "\n".join(["| split | measure | value |", "|---|---|---|", *rows])
