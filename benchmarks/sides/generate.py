"""The side of transformers' `generate`, left-padded in one batch; what it draws behind an end token does not count."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM

from benchmarks.inputs import PAD, SPECIAL, read_rows
from benchmarks.sides.clock import Clock


def prepare(request: Mapping[str, Any]) -> Callable[[], dict[str, Any]]:
    torch.set_num_threads(request["threads"])
    place, plan = Path(request["inputs"]), dict(request["plan"])
    rows = read_rows(place)
    dtype = torch.bfloat16 if request["precision"] == "bf16" else torch.float32
    attention = plan.pop("attn_implementation", "sdpa")
    model: Any = LlamaForCausalLM.from_pretrained(place / "policy", dtype=dtype, attn_implementation=attention).eval()
    agree = answer_logprobs(model, rows)
    ends = list(range(len(SPECIAL), len(SPECIAL) + request["ends"]))
    model.generation_config.eos_token_id = ends or None
    prompts = [row["prompt"] for row in rows for _ in range(request["copies"])]
    width = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    settings = {"max_new_tokens": request["answer"], "do_sample": True, "top_k": 0, "pad_token_id": PAD, **plan}

    def repeat() -> dict[str, Any]:
        torch.manual_seed(0)
        clock = Clock()
        with clock.running():
            drawn = model.generate(ids, attention_mask=mask, **settings)[:, width:]
        ended = torch.isin(drawn, torch.tensor(ends, dtype=torch.long))
        work = int((ended.cumsum(1) - ended.int() == 0).sum())
        return {"seconds": clock.seconds, "cpu": clock.cpu, "work": work, "agree": agree}

    return repeat


@torch.no_grad()
def answer_logprobs(model: Any, rows: Sequence[Mapping[str, list[int]]]) -> list[float]:
    """The log-probabilities of the first answers, which must be those of the other side."""
    sums: list[float] = []
    for row in rows[:5]:
        ids = torch.tensor([row["prompt"] + row["chosen"]])
        logprobs = model(ids).logits[0, len(row["prompt"]) - 1 : -1].float().log_softmax(-1)
        sums.append(float(logprobs.gather(1, ids[0, len(row["prompt"]) :, None]).sum()))
    return sums
