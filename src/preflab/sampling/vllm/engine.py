"""The process in which vLLM runs, as preflab's process sees it.

vLLM pins other versions of transformers than preflab needs, and takes hold of the process in which it runs. Therefore
vLLM runs in a process of its own, whose interpreter can belong to another environment. The two processes exchange
orders and replies as lines of JSON, and weights as a directory.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from preflab.errors import UserError
from preflab.text import brief, one_line

WORKER = Path(__file__).with_name("worker.py")
SECONDS_TO_END = 30.0
"""The time in seconds that vLLM has to end."""
CONTROLS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1"}
"""The environment variables of vLLM's process. It needs no further process for its scheduler, and sends no statistics."""
HAS_VLLM = "import importlib.util, sys; sys.exit(importlib.util.find_spec('vllm') is None)"


@dataclass(frozen=True)
class DrawOrder:
    """A request for answers. `model`: the directory of the weights. `settings`: the arguments of vLLM's `LLM`, with
    which the first order of a process starts vLLM. `params`: the arguments of vLLM's `SamplingParams`, except the seed.
    `seeds`: one seed for each prompt. `gpus`: the value of CUDA_VISIBLE_DEVICES for vLLM's process; '' if vLLM may use
    the GPUs that preflab's process sees."""

    model: Path
    settings: Mapping[str, Any]
    prompts: Sequence[Sequence[int]]
    params: Mapping[str, Any]
    seeds: Sequence[int]
    gpus: str = ""


class DrawnRow(NamedTuple):
    """An answer of vLLM. `logprobs`: one log-probability for each id. `kept`: the ids that top-k and top-p kept at each
    token, in ascending order; empty if top-k and top-p are off. `cached`: the number of prompt tokens that vLLM did not
    process, because the cache had their keys and values."""

    ids: list[int]
    logprobs: list[float]
    kept: list[list[int]]
    cached: int


class Engine(Protocol):
    """Draws answers with any weights of one architecture."""

    def draw(self, order: DrawOrder) -> list[DrawnRow]:
        """Draws one answer to each prompt, with the weights of the order. Raises `UserError` if vLLM fails."""
        ...

    def close(self) -> None:
        """Ends vLLM."""
        ...


class ProcessEngine:
    """vLLM in a process of its own, which starts with the first order and serves all later ones. Each order brings new
    weights. If an order has a model of another configuration, a new process starts. `python`: the interpreter of the
    environment in which vLLM is installed."""

    def __init__(self, python: str) -> None:
        self.python = python
        self._process: subprocess.Popen[str] | None = None
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  # it lives as long as this object
        self._started_with: Any = None

    def draw(self, order: DrawOrder) -> list[DrawnRow]:
        process = self._process_for(order)
        line = {
            "model": str(order.model),
            "settings": {"model": str(order.model), **order.settings},
            "prompts": [list(prompt) for prompt in order.prompts],
            "params": dict(order.params),
            "seeds": list(order.seeds),
        }
        assert process.stdin is not None and process.stdout is not None
        with suppress(BrokenPipeError):  # the reply is then empty
            process.stdin.write(json.dumps(line) + "\n")
            process.stdin.flush()
        text = process.stdout.readline()
        reply: dict[str, Any] = json.loads(text) if text.endswith("\n") else {"error": self._last_words()}
        if "error" in reply:
            self.close()
            raise UserError(
                f"vLLM failed: {one_line(reply['error']).rstrip('.')}. Check the settings of the sampler `vllm`, such as "
                "`memory_share`, `cache_gib` and `dtype`, or use `sampler: native`."
            )
        return [DrawnRow(**row) for row in reply["rows"]]

    def close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            with suppress(BrokenPipeError):
                if stream is not None:
                    stream.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_TO_END)
        with suppress(ProcessLookupError):  # the processes of a tensor-parallel engine, if they are still there
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _process_for(self, order: DrawOrder) -> subprocess.Popen[str]:
        """Returns the process that serves the order. Starts a process if there is none, or if the running one has
        other settings or a model of another configuration."""
        needed = (read_architecture(order.model), dict(order.settings), order.gpus)
        if self._process is not None and needed != self._started_with:
            self.close()
        if self._process is None:
            gpus = {"CUDA_VISIBLE_DEVICES": order.gpus} if order.gpus else {}
            self._process = subprocess.Popen(
                [self.python, str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                env=os.environ | CONTROLS | gpus,
                start_new_session=True,  # Ctrl-C ends the run after its step, for which the run needs vLLM
            )
            self._started_with = needed
        return self._process

    def _last_words(self) -> str:
        """Says that the process ended, with the last error that it printed."""
        self._log.seek(0)
        lines = [line.strip() for line in self._log.readlines() if "Error" in line]
        return f"its process ended{f' after this message: {brief(lines[-1])}' if lines else ''}"


def read_architecture(model: Path) -> Any:
    """Returns the configuration of the model in a directory. Weights of equal configurations fit one engine."""
    return json.loads((model / "config.json").read_text(encoding="utf-8"))


def check_interpreter(python: str) -> None:
    """Raises `UserError` if `python` is no interpreter, or if its environment lacks vLLM."""
    advice = (
        "Install vLLM into an environment of its own (`python3 -m venv ENV`, then `ENV/bin/pip install vllm`), and name "
        "its interpreter: `sampler: {kind: vllm, python: ENV/bin/python}`."
    )
    try:
        done = subprocess.run([python, "-c", HAS_VLLM], capture_output=True, check=False, timeout=SECONDS_TO_END)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"The sampler `vllm` cannot start {python!r}: {error}. {advice}") from error
    if done.returncode != 0:
        raise UserError(f"The sampler `vllm` needs vLLM, which the environment of {python} does not have. {advice}")


_engines: dict[object, tuple[ProcessEngine, int]] = {}


@contextmanager
def shared_engine(key: object, python: str) -> Generator[Engine]:
    """Yields the engine that all samplers with this key share. An arm opens its sampler for training and again for each
    kind of measurement, but the memory may have room for one engine only. The last user of the engine ends it."""
    engine, users = _engines.get(key) or (ProcessEngine(python), 0)
    _engines[key] = engine, users + 1
    try:
        yield engine
    finally:
        engine, users = _engines.pop(key)
        if users > 1:
            _engines[key] = engine, users - 1
        else:
            engine.close()
