"""The side of TRL's PPOTrainer (1.12.0, the last release with PPO), on the prompts of the harness."""

# pyright: basic, reportMissingImports=false
# TRL is installed only in the environment of this side.

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import DataCollatorWithPadding, LlamaForCausalLM, LlamaForSequenceClassification
from trl.experimental.ppo import PPOConfig, PPOTrainer

from benchmarks.inputs import make_tokenizer, read_rows
from benchmarks.sides.clock import Clock
from benchmarks.sides.generate import answer_logprobs
from benchmarks.sides.steps import Steps


def prepare(request: Mapping[str, Any]) -> Callable[[], dict[str, Any]]:
    torch.set_num_threads(request["threads"])
    place = Path(request["inputs"])
    rows = read_rows(place)
    tokenizer = make_tokenizer(request["vocabulary"])
    data = Dataset.from_list([{"input_ids": row["prompt"]} for row in rows])
    batch, steps, answer = request["rollouts"], request["steps"], request["answer"]
    agree = answer_logprobs(load_policy(place), rows)

    def repeat() -> dict[str, Any]:
        clock = Clock()
        policy = load_policy(place)
        policy.generation_config.eos_token_id = None  # every answer has the same length
        critic = load_scorer(place)
        torch.nn.init.zeros_(critic.score.weight)
        with tempfile.TemporaryDirectory() as output:
            settings: dict[str, Any] = {
                "output_dir": output,
                "per_device_train_batch_size": batch,
                "gradient_accumulation_steps": 1,
                "local_rollout_forward_batch_size": batch,
                "num_mini_batches": request["mini_batches"],
                "num_ppo_epochs": request["epochs"],
                "total_episodes": batch * steps,
                "response_length": answer,
                "temperature": 1.0,
                "kl_coef": 0.05,
                "gamma": 1.0,
                "lam": 1.0,
                "learning_rate": request["rate"],
                "adam_beta2": 0.95,
                "adam_epsilon": 1e-5,
                "weight_decay": 0.0,
                "lr_scheduler_type": "constant",
                "use_cpu": True,
                "bf16": False,
                "gradient_checkpointing": False,
                "report_to": [],
                "save_strategy": "no",
                "num_sample_generations": 0,
                "disable_tqdm": True,
            }
            trainer = PPOTrainer(
                args=PPOConfig(**{**settings, **request["plan"]}),
                processing_class=tokenizer,
                model=policy,
                ref_model=load_policy(place),
                reward_model=load_scorer(place),
                value_model=critic,
                train_dataset=data,
                eval_dataset=data.select(range(batch)),
                data_collator=DataCollatorWithPadding(tokenizer),
                callbacks=[Steps(clock)],
            )
            trainer.train()
        work = steps * batch * (request["prompt"] + answer)
        return {"seconds": clock.seconds, "cpu": clock.cpu, "work": work, "agree": agree}

    return repeat


def load_policy(place: Path) -> Any:
    return LlamaForCausalLM.from_pretrained(place / "policy", dtype=torch.float32)


def load_scorer(place: Path) -> Any:
    return LlamaForSequenceClassification.from_pretrained(place / "reward", dtype=torch.float32)
