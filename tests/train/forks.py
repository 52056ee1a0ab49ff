"""Runs commands in forks of one preloaded process, so that a run that is killed and resumed costs no import of torch.

Reads one JSON request a line (see `Forks.run` in conftest.py) and answers with the fork's exit code, negative for a
signal. It is a process of its own: no other test's threads are in it when it forks.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
import traceback
from functools import partial
from pathlib import Path
from typing import Any

import peft  # noqa: F401  # preloaded like the others, see `warm`
import torch
from tensorboard.compat.proto import event_pb2, summary_pb2  # noqa: F401
from tensorboard.summary.writer import record_writer  # noqa: F401

from preflab import cli
from preflab.arm import execute as executing
from preflab.arm import origin
from preflab.arm.spec import Arm
from preflab.models import heads, lora
from preflab.models.load import load_directory
from preflab.models.spec import LoRA
from preflab.train import settings


def run(request: dict[str, Any]) -> int:
    """What the fork does: a `preflab` command; returns its exit code."""
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ |= request["environment"]
    os.chdir(request["folder"])
    settings.Keeping = partial(settings.Keeping, **request["keeping"])  # not on the command line
    try:
        cli.main(request["command"])
    except SystemExit as stopped:
        return int(stopped.code or 0)
    except BaseException:
        traceback.print_exc()
    return 1


def warm(arm: Arm) -> None:
    """Imports what is imported late and makes the problems, once for all forks. No gradient is computed: autograd, once
    it has started its threads, must not be forked."""
    with tempfile.TemporaryDirectory() as place:
        executing.execute(arm, Path(place), keeping=settings.Keeping(progress=False))
        lm = load_directory(Path(place) / "final")
        heads.make_reward_model(lm, seed=0)
        lora.attach(lm.model, LoRA(rank=1), seed=0)
        torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], fused=True).step()


def main() -> None:
    torch.set_num_threads(1)
    origin.revision = lambda: None  # asking git in every fork would take most of the time
    warm(Arm.model_validate(json.loads(sys.stdin.readline())["arm"]))
    gc.freeze()  # what is here stays: no fork has to copy it to find that out
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            code = run(request)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        print(json.dumps({"started": child}), flush=True)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)
    os._exit(0)  # there is nothing to clean up, and Python would take seconds over it


if __name__ == "__main__":
    main()
