"""Calls the LM Evaluation Harness. This module is imported only where the harness is installed."""

from __future__ import annotations

import random
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from preflab.errors import UserError
from preflab.models import forward

if TYPE_CHECKING:
    from preflab.evaluation.lm_harness import LmEval
    from preflab.models.lm import LanguageModel


def find_tasks(folder: Path | None) -> tuple[Any, list[str]]:
    """Returns the harness's index of tasks, and the names of the tasks. If a folder is given, returns the tasks in the
    folder. If not, returns the tasks that come with the harness."""
    from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]  # an extra

    manager = TaskManager(include_path=None if folder is None else str(folder), include_defaults=folder is None)
    return manager, list(manager.all_tasks)


def run_tasks(policy: LanguageModel, spec: LmEval, manager: Any) -> Any:
    """Runs the tasks, and returns the harness's results, which include the result of every item. Restores the policy
    and the global random states afterwards. Raises `UserError` if the harness fails."""
    from lm_eval import simple_evaluate  # pyright: ignore[reportMissingImports]  # an extra
    from lm_eval.models.huggingface import HFLM  # pyright: ignore[reportMissingImports]  # an extra

    model = forward.unwrap(policy.model)
    training = model.training
    with keep_random_states(), torch.no_grad():
        try:
            harnessed = HFLM(
                pretrained=model, tokenizer=policy.tokenizer, batch_size=spec.batch, max_length=policy.context
            )
            return simple_evaluate(
                model=harnessed,
                tasks=[*spec.tasks],
                task_manager=manager,
                num_fewshot=spec.shots,
                limit=spec.limit or None,
                bootstrap_iters=0,
                log_samples=True,
            )
        except Exception as error:  # a task file can contain any code
            raise UserError(f"lm-eval failed on {', '.join(spec.tasks)}: {type(error).__name__}: {error}") from error
        finally:
            model.train(training)


@contextmanager
def keep_random_states() -> Generator[None]:
    """Returns a context that restores the global random states when it ends, because the harness seeds them."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if devices:
            torch.cuda.set_rng_state_all(devices)
