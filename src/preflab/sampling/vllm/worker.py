"""The process that runs vLLM. `preflab.sampling.vllm.engine` starts this file as a script.

The interpreter that runs this file has vLLM, but need not have preflab. Therefore this file imports nothing from
preflab. It reads one order in each line of its standard input, and writes one reply in each line of its standard
output, both as JSON. What vLLM prints goes to the standard error output. The process ends when its input ends.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))
INCOMPLETE = -1e30
"""vLLM gives a token that top-k or top-p excluded the log-probability minus infinity, which is below this number."""


def import_vllm() -> Any:
    """Imports vLLM, which takes seconds and which the type checker's environment does not have."""
    return importlib.import_module("vllm")


class Server:
    """Holds vLLM's engine, and draws answers with it. `sleeps`: whether the engine gives back its GPU memory between
    two draws."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.llm = import_vllm().LLM(**settings)
        self.sleeps = bool(settings.get("enable_sleep_mode"))
        self.directory = settings["model"]

    def load(self, directory: str) -> None:
        """Replaces the weights by those in a directory, and forgets the keys and values of the old weights."""
        if self.sleeps:
            self.llm.wake_up(tags=["weights"])
        self.llm.collective_rpc("reload_weights", kwargs={"weights_path": directory})
        if self.sleeps:
            self.llm.wake_up(tags=["kv_cache"])
        if not self.llm.reset_prefix_cache():
            raise RuntimeError("vLLM did not empty its prefix cache, which belongs to the old weights.")
        self.directory = directory

    def draw(self, order: dict[str, Any]) -> list[dict[str, Any]]:
        """Draws one answer to each prompt with the weights in `order["model"]`."""
        if order["model"] != self.directory:
            self.load(order["model"])
        prompts = [{"prompt_token_ids": ids} for ids in order["prompts"]]
        make = import_vllm().SamplingParams
        params = [make(seed=seed, **order["params"]) for seed in order["seeds"]]
        outputs = self.llm.generate(prompts, params, use_tqdm=False)
        if self.sleeps:
            self.llm.sleep(level=2)
        restricted = order["params"]["logprobs"] != 0
        return [read_output(output, restricted) for output in outputs]


def read_output(output: Any, restricted: bool) -> dict[str, Any]:
    """Returns the drawn ids of an answer, their log-probabilities, the ids that top-k and top-p kept at each token (if
    `restricted` is True), and the number of prompt tokens whose keys and values were in the cache."""
    answer = output.outputs[0]
    ids, flat = list(answer.token_ids), answer.logprobs
    logprobs: list[float] = []
    kept: list[list[int]] = []
    for drawn, (tokens, values) in zip(ids, positions(flat), strict=True):
        logprobs.append(values[tokens.index(drawn)])
        if restricted:
            kept.append(sorted({token for token, value in zip(tokens, values, strict=True) if value > INCOMPLETE}))
    return {"ids": ids, "logprobs": logprobs, "kept": kept, "cached": output.num_cached_tokens or 0}


def positions(flat: Any) -> Iterator[tuple[list[int], list[float]]]:
    """Yields the token ids and log-probabilities that vLLM reports at each token of an answer."""
    for start, end in zip(flat.start_indices, flat.end_indices, strict=True):
        yield flat.token_ids[start:end], flat.logprobs[start:end]


def answer_order(server: Server | None, order: dict[str, Any]) -> tuple[Server | None, dict[str, Any]]:
    """Carries out an order. The first order starts vLLM. Returns the server and the reply. If vLLM raises an error,
    the reply contains the error's text."""
    try:
        server = server or Server(order["settings"])
        return server, {"rows": server.draw(order)}
    except Exception as error:  # the process that reads the reply reports the error
        traceback.print_exc()
        return server, {"error": f"{type(error).__name__}: {error}"}


def answer_orders() -> None:
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # vLLM prints on the standard output, which would end up between the replies
    # As a script, this file has its own directory on the path, whose modules could hide those that vLLM imports.
    sys.path[:] = [place for place in sys.path if os.path.abspath(place or ".") != HERE]
    server: Server | None = None
    for line in sys.stdin:
        server, reply = answer_order(server, json.loads(line))
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    answer_orders()
