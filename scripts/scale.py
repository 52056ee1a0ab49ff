"""Prints docs/scale.md: what arms and the paper's own tables cost on clusters, by the formulas of `--plan --cluster`.

python scripts/scale.py > docs/scale.md
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from preflab.errors import UserError
from preflab.methods.cost import DataSize
from preflab.models.footprint import FP32, measure_footprint
from preflab.models.spec import ModelSpec
from preflab.study.forecast import formulas
from preflab.study.forecast.at_scale import SMALL_BUDGET, ScaleForecast, StudyData, forecast_at_scale
from preflab.study.forecast.cluster import GPUS, ClusterSpec
from preflab.study.forecast.formulas import BF16, ModelSize, RowLength
from preflab.study.load import load_study

SHAPES: dict[str, dict[str, int]] = {  # as in the config.json of the models on the hub
    "Llama-2-7B": {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32},
    "Llama-2-13B": {
        "hidden_size": 5120,
        "intermediate_size": 13824,
        "num_hidden_layers": 40,
        "num_attention_heads": 40,
    },
    "CodeLlama-34B": {
        "hidden_size": 8192,
        "intermediate_size": 22016,
        "num_hidden_layers": 48,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
    },
    "Llama-2-70B": {
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
    },
}
PUBLISHED = {  # README of OpenRLHF: seconds for 1,024 prompts and one PPO epoch, on A800-80GB
    "Llama-2-7B": (16, 855.09, 471.11),
    "Llama-2-13B": (32, 1528.93, 608.93),
    "CodeLlama-34B": (32, 3634.98, 1526.4),
    "Llama-2-70B": (32, 10407.0, 4488.53),
}
DIALOGUE = StudyData(
    {
        "train": DataSize(76_200, 76_200, 76_200),
        "validation": DataSize(8_460, 8_460, 8_460),
        "test": DataSize(4_276, 4_276, 4_276),
    },
    RowLength(prompt=200, answer=80),
)
"""Half of HH-RLHF (part A), as docs/testbeds.md counts it."""
PROGRAMS = {
    "apps": StudyData(
        {
            "train": DataSize(4_500, 4_500, 4_500),
            "validation": DataSize(500, 500, 500),
            "test": DataSize(5_000, 5_000, 0),
        },
        RowLength(prompt=450, answer=250),
        judging=0.02,
    ),
    "code-contests": StudyData(
        {"train": DataSize(13_328, 13_328, 13_328), "validation": DataSize(117, 117, 0), "test": DataSize(165, 165, 0)},
        RowLength(prompt=600, answer=350),
        judging=0.02,
    ),
}
TABLES = (
    ("hh", "Llama-2-7B", DIALOGUE),
    ("hh-ablation", "Llama-2-7B", DIALOGUE),
    ("hh-beta", "Llama-2-7B", DIALOGUE),
    ("apps", "Llama-2-7B", PROGRAMS["apps"]),
    ("apps", "Llama-2-13B", PROGRAMS["apps"]),
    ("apps", "CodeLlama-34B", PROGRAMS["apps"]),
    ("code-contests", "CodeLlama-34B", PROGRAMS["code-contests"]),
)
ARMS = ("sft", "rm", "dpo", "ppo")


FORMULAS = (
    ("quantity", "formula", "source"),
    (
        "forward pass over a row of P + T tokens",
        "2 N (P + T) FLOP, at `reading` of the peak",
        "Kaplan et al. 2020, Section 2.1",
    ),
    (
        "update on a row",
        "6 N (P + T) FLOP, with activations computed again 8 N (P + T), at `training` of the peak",
        "the same; Llama 3 trained at 38% to 43% (Dubey et al. 2024, Table 4)",
    ),
    (
        "one token of R answers",
        "the longer of 2 N R FLOP at `reading`, and reading the bf16 weights and R keys and values at `decoding` of the "
        "bandwidth",
        "Pope et al. 2023, Section 2",
    ),
    ("weights, gradients, Adam's moments", "4 bytes each (fp32), split over the GPUs", "`preflab.arm.memory`"),
    ("activations", "of one micro-batch on each GPU, counted on the network itself", "`preflab.models.footprint`"),
    (
        "schedule",
        "a run starts when the runs that it needs have ended and its GPUs are free; the longest chain first",
        "`preflab.study.forecast.schedule`",
    ),
)


Cells = Sequence[str]
"""The cells of a row of a table."""


def table(rows: Iterable[Cells], numbers: int = 0) -> str:
    """Returns a Markdown table. The first row is the heading. `numbers`: how many of the last columns are aligned right."""
    head, *rest = rows
    rule = ["---"] * (len(head) - numbers) + ["--:"] * numbers
    return "\n".join([f"| {' | '.join(head)} |", f"|{'|'.join(rule)}|", *(f"| {' | '.join(row)} |" for row in rest)])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, shape in SHAPES.items():
            write_config(Path(folder) / name, shape)
        print("\n".join(page(Path(folder))))


def write_config(directory: Path, shape: dict[str, int]) -> None:
    directory.mkdir()
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 32000, **shape}
    (directory / "config.json").write_text(json.dumps(config))


def page(models: Path) -> Iterator[str]:
    yield INTRODUCTION
    yield table(arms_table(models), numbers=4)
    yield AFTER_ARMS
    yield table(studies_table(models), numbers=5)
    yield AFTER_STUDIES
    yield table(published_table(models), numbers=5)
    yield CLOSING


def plan(study_name: str, model: Path, data: StudyData, cluster: ClusterSpec, *names: str) -> ScaleForecast:
    """Plans a study at the paper's size; with names, one seed of these arms and of the stages that they need."""
    study = load_study(study_name, "paper").with_model(str(model))
    study = study.narrowed(list(names) or None, 1 if names else None)
    return forecast_at_scale(study, model / "study", cluster, data)


def arms_table(models: Path) -> Iterator[Cells]:
    yield ("model", "GPUs", "run", "GiB a GPU", "hours", "of these sampling", "GPU hours")
    for name in ("Llama-2-7B", "Llama-2-70B"):
        for nodes in (1, 8):
            cluster = ClusterSpec(gpu=GPUS["H100"], nodes=nodes, spread="all")
            try:
                forecast = plan("hh", models / name, DIALOGUE, cluster, "dpo", "ppo")
            except UserError as error:
                yield (name, f"{cluster.gpus}", "", "does not fit", "", "", "")
                print(error, file=sys.stderr)
                continue
            for row in forecast.rows:
                if row.name in ARMS and row.part != "match":
                    gib = f"{row.plan.placement.gib:.0f}{' ¹' if row.plan.placement.recomputes else ''}"
                    hours, share = row.plan.hours, row.plan.phases["sampling"] / row.plan.hours
                    run = f"{row.part} `{row.name}`"
                    yield (name, f"{cluster.gpus}", run, gib, f"{hours:.2g}", f"{share:.0%}", f"{row.gpu_hours:,.3g}")


def studies_table(models: Path) -> Iterator[Cells]:
    yield ("study, `--size paper`", "model", "runs", "GPUs a run", "GPU hours", "hours on 64 GPUs", "dollars")
    for study, name, data in TABLES:
        forecast = plan(study, models / name, data, ClusterSpec(gpu=GPUS["H100"], nodes=8, dollars=PRICE))
        counts = sorted({row.plan.placement.gpus for row in forecast.rows if row.part != "match"})
        gpus = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        runs, hours = sum(row.runs for row in forecast.rows), forecast.gpu_hours
        yield (f"`{study}`", name, f"{runs}", gpus, f"{hours:,.0f}", f"{forecast.hours:,.0f}", f"{PRICE * hours:,.0f}")


def published_table(models: Path) -> Iterator[Cells]:
    yield ("model", "A800", "DeepSpeed-Chat, published", "OpenRLHF, published", "computed", "published / computed")
    for name, (gpus, other, published) in PUBLISHED.items():
        seconds = ppo_seconds(models / name, gpus)
        ratio = f"{published / seconds:.1f}"
        yield (name, f"{gpus}", f"{other:,.0f} s", f"{published:,.0f} s", f"{seconds:,.0f} s", ratio)


def ppo_seconds(model: Path, gpus: int) -> float:
    """Returns the computed seconds for 1,024 prompts and one PPO epoch with a critic, a reference and a reward model as
    large as the policy: 1,024 answers, four forward passes over each, and one update of the policy and one of the critic."""
    footprint = measure_footprint(
        ModelSpec(name=str(model)), token_budget=SMALL_BUDGET, device="cuda", bf16=True, recompute=True
    )
    shape = ModelSize(footprint.parameters, footprint.trainable, footprint.token_bytes * BF16 / FP32)
    where = (shape, RowLength(1024, 1024), ClusterSpec(gpu=GPUS["A100"], nodes=gpus // 8), gpus)
    reading, training = formulas.reading_seconds(*where), formulas.training_seconds(*where, recomputes=True)
    return 1024 * (formulas.sampling_seconds(*where) + 4 * reading + 2 * training)


PRICE = 2.5
INTRODUCTION = f"""# What a study costs on a cluster

`preflab study NAME --size paper --plan --cluster FILE` computes for each run: the fewest GPUs that hold it, the
memory of each GPU, the hours of sampling, training, forward passes and judging, and when it runs. A cluster file says
what there is:

```yaml
gpu: H100            # or A100, H200, or {{memory_gib: 80, tflops: 989, bandwidth: 3.35}}
nodes: 8
gpus_per_node: 8
training: 0.4        # share of the peak arithmetic in training, reading: in forward passes
reading: 0.5
decoding: 0.5        # share of the memory's peak bandwidth while tokens are drawn
dollars: 2.5         # a GPU hour
spread: fewest       # GPUs of a run: the fewest that hold it, or all
```

**Everything on this page but the published figures is computed. Nobody ran it.** preflab trains a run on one GPU
today. Where a run needs more, the page says what it would take if the weights, gradients and moments were split
evenly over the GPUs.

{table(FORMULAS)}

The formulas leave out communication, the start of operations, and padding. They are lower bounds.

## An arm at 7B and at 70B

One seed of `hh --size paper` on H100 GPUs, each run spread over all of them: SFT 3 epochs of
{DIALOGUE.sizes["train"].demonstrations:,} answers, the reward model 1 epoch and DPO 2 epochs of as many pairs, PPO
744 steps of 512 answers. Rows have {DIALOGUE.row.prompt:.0f} + {DIALOGUE.row.answer:.0f} tokens in the mean (an
assumption). The hours include the measurement.
"""
AFTER_ARMS = """
¹ with `--checkpoint-activations`, and if need be with micro-batches of 4,096 tokens.

## The paper's tables today

All runs and seeds of the studies that repeat the paper's tables, on 64 H100 (8 machines), each run on the fewest GPUs
that hold it, at $2.50 for a GPU hour. The sizes of the data are those of the official files; lengths of rows are
assumed: dialogue 200 + 80 tokens, APPS 450 + 250, CodeContests 600 + 350. Judging a program takes .02 s, as on 64
cores with 1.3 s each.
"""
AFTER_STUDIES = """
The sizes `paper` of preflab have five seeds where the paper has one run, so that a table has intervals. `preflab
study NAME --size paper --plan --cluster FILE` prints the table of one study by run.

## Beside published figures

OpenRLHF's README publishes the seconds for 1,024 prompts and one PPO epoch on A800-80GB GPUs (an A100 with slower
links), for its own system and for DeepSpeed-Chat (github.com/OpenRLHF/OpenRLHF, "Performance", which calls the
figures outdated). Its launch script sets both maximal lengths to 1,024, which the computed column assumes for every
row.
"""
CLOSING = """
Real systems take several times as long as the formulas say, and more so for large models, whose weights are offloaded
and sent between GPUs. Multiply the hours on this page by such a factor. Two other systems publish ratios, not
seconds: ReaL is up to 3.58 times as fast as the systems that it compares with, at up to 70B and 128 GPUs (Mei et al.
2024, arXiv 2406.14088v2, abstract), and HybridFlow (verl) 1.53 to 20.57 times (Sheng et al. 2024, arXiv 2409.19256,
abstract)."""

if __name__ == "__main__":
    main()
