"""The side of TRL's DPOTrainer (1.16.0), on the pairs of the harness in preflab's order."""

# pyright: basic, reportMissingImports=false
# TRL is installed only in the environment of this side.

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from transformers import LlamaForCausalLM
from trl import DPOConfig, DPOTrainer

from benchmarks.inputs import make_tokenizer, read_rows, text_of
from benchmarks.sides.clock import Clock
from benchmarks.sides.steps import Steps

disable_progress_bars()


class Timed(DPOTrainer):
    """A trainer that notes its losses, and times the pass of the reference that it makes before training."""

    def __init__(self, clock: Clock, **parts: Any) -> None:
        self.clock = clock
        self.losses: list[float] = []
        super().__init__(callbacks=[Steps(clock)], **parts)

    def _precompute_ref_logps(self, *args: Any) -> Dataset:
        with self.clock.running():
            return super()._precompute_ref_logps(*args)

    def compute_loss(self, *args: Any, **settings: Any) -> Any:
        loss = super().compute_loss(*args, **settings)
        self.losses.append(float(loss.detach()))
        return loss


def prepare(request: Mapping[str, Any]) -> Callable[[], dict[str, Any]]:
    torch.set_num_threads(request["threads"])
    place = Path(request["inputs"])
    written = read_rows(place)
    rows = [written[number] for number in request["order"]]
    tokenizer = make_tokenizer(request["vocabulary"])
    bf16 = request["precision"] == "bf16"

    def message(role: str, ids: list[int]) -> list[dict[str, str]]:
        return [{"role": role, "content": text_of(ids)}]

    def repeat() -> dict[str, Any]:
        data = Dataset.from_list(
            [
                {
                    "prompt": message("user", row["prompt"]),
                    "chosen": message("assistant", row["chosen"]),
                    "rejected": message("assistant", row["rejected"]),
                }
                for row in rows
            ]
        )
        data._fingerprint = uuid.uuid4().hex  # so that no reference is read from the cache of an earlier repetition
        clock = Clock()
        with tempfile.TemporaryDirectory() as output:
            settings: dict[str, Any] = {
                "output_dir": output,
                "per_device_train_batch_size": request["batch"],
                "max_steps": request["steps"],
                "max_length": None,
                "beta": 0.1,
                "learning_rate": request["rate"],
                "adam_beta2": 0.95,
                "adam_epsilon": 1e-5,
                "weight_decay": 0.0,
                "lr_scheduler_type": "constant",
                "train_sampling_strategy": "sequential",
                "use_cpu": True,
                "bf16": False,
                "gradient_checkpointing": False,
                "dataloader_pin_memory": False,
                "report_to": [],
                "save_strategy": "no",
                "logging_strategy": "no",
                "disable_tqdm": True,
            }
            trainer = Timed(
                clock,
                model=LlamaForCausalLM.from_pretrained(
                    place / "policy", dtype=torch.bfloat16 if bf16 else torch.float32
                ),
                args=DPOConfig(**{**settings, **request["plan"]}),
                train_dataset=data,
                processing_class=tokenizer,
            )
            ids = ("prompt_ids", "chosen_ids", "rejected_ids")
            first = [trainer.train_dataset[0][name] for name in ids]
            assert first == [rows[0][name.removesuffix("_ids")] for name in ids], "TRL tokenises the rows otherwise"
            trainer.train()
        parts = len(trainer.losses) // request["steps"]
        losses = [sum(trainer.losses[step * parts :][:parts]) / parts for step in range(request["steps"])]
        work = sum(2 * len(row["prompt"]) + len(row["chosen"]) + len(row["rejected"]) for row in rows)
        return {"seconds": clock.seconds, "cpu": clock.cpu, "work": work, "agree": losses[:5]}

    return repeat
