"""A study's plan on a cluster: the GPUs, the memory and the hours of its runs, and the page that is made from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from preflab.cli import run_command
from preflab.errors import UserError
from preflab.methods.cost import DataSize
from preflab.study.forecast import formulas
from preflab.study.forecast.at_scale import ScaleForecast, StudyData, forecast_at_scale
from preflab.study.forecast.cluster import ClusterSpec
from preflab.study.forecast.formulas import RowLength
from preflab.study.load import load_study

SIZE = DataSize(prompts=400, demonstrations=400, pairs=400)
DATA = StudyData({"train": SIZE, "validation": SIZE, "test": SIZE}, RowLength(prompt=200, answer=100))
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 1000}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a model with .1B parameters, without weights: width 1,024, 8 layers."""
    shape = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 8, "num_attention_heads": 16}
    place = tmp_path_factory.mktemp("model")
    (place / "config.json").write_text(json.dumps(LLAMA | shape))
    return place


def forecast(model: Path, place: Path, **settings: object) -> ScaleForecast:
    cluster = ClusterSpec.model_validate({"gpu": {"memory_gib": 4, "tflops": 100, "bandwidth": 1.0}, **settings})
    return forecast_at_scale(load_study("smoke").with_model(str(model)), place, cluster, DATA)


def test_the_hours_are_counts_times_formulas(model: Path, tmp_path: Path) -> None:
    """The hours of training of the stage `sft` are its rows times the seconds of an update. The hours of a run are the sum of
    its phases; the GPU hours count seeds and GPUs. No run begins before its stage has ended."""
    plan = forecast(model, tmp_path / "study", nodes=1, gpus_per_node=8)
    rows = {(row.part, row.name): row for row in plan.rows}
    sft = rows["stage", "sft"]
    study = load_study("smoke")
    cost = study.stages["sft"].method.cost(SIZE)
    shape = formulas.ModelSize(sft.plan.parameters, sft.plan.parameters, 2 * 8 * 1024 * 2)
    update = formulas.training_seconds(
        shape, DATA.row, plan.cluster, sft.plan.placement.gpus, recomputes=sft.plan.placement.recomputes
    )
    assert sft.plan.phases["training"] == pytest.approx(cost.trained * update / 3600)
    assert rows["arm", "ppo"].plan.phases["sampling"] > 0
    for row in plan.rows:
        assert row.gpu_hours == pytest.approx(row.runs * row.plan.placement.gpus * row.plan.hours)
        assert row.plan.placement.gib <= 0.9 * 4
    assert sum(row.runs for row in plan.rows) == 8
    assert rows["arm", "ppo"].first_start >= sft.plan.hours
    assert plan.hours == max(row.last_end for row in plan.rows)
    assert 0 < plan.busy <= 1


def test_all_gpus_for_each_run(model: Path, tmp_path: Path) -> None:
    plan = forecast(model, tmp_path / "study", nodes=2, gpus_per_node=4, spread="all")
    assert {row.plan.placement.gpus for row in plan.rows} == {8}


def test_a_run_that_does_not_fit_is_a_mistake(model: Path, tmp_path: Path) -> None:
    """.1B parameters with gradients, moments and copies take more than a GPU with 1 GiB."""
    with pytest.raises(UserError, match="does not fit the cluster: its weights, gradients and moments alone take"):
        forecast(model, tmp_path / "study", gpu={"memory_gib": 1, "tflops": 100, "bandwidth": 1}, gpus_per_node=1)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--plan --cluster FILE` opens the data, prints a table, and as JSON the same numbers. Without `--plan`, the option
    would do nothing, and is refused."""
    file = tmp_path / "cluster.yaml"
    file.write_text("gpu: A100\ndollars: 2\n")
    words = ["study", "smoke", "--output", str(tmp_path / "study"), "--cluster", str(file)]
    assert run_command([*words, "--plan"]) == 0
    text = capsys.readouterr().out
    assert "stage sft" in text and "8 runs on 1 machine with 8 GPUs" in text and "At $2 for a GPU hour" in text
    assert run_command([*words, "--plan", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cluster"]["gpu"]["tflops"] == 312
    with pytest.raises(UserError, match="--cluster belongs to --plan"):
        run_command(words)
    assert not (tmp_path / "study").exists()


@pytest.mark.slow
def test_the_page_is_that_of_the_script(
    repository: Path, script: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    script("scale").main()
    assert capsys.readouterr().out == (repository / "docs" / "scale.md").read_text(encoding="utf-8")
