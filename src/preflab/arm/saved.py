"""Finds the saved model in a directory. If the directory is a finished run, finds the model that the run trained.

This module does not import torch.
"""

from __future__ import annotations

from pathlib import Path

from preflab.errors import UserError
from preflab.models.load import ADAPTER_CONFIG
from preflab.train.directory import RESULT, STUDY_MANIFEST, read_manifest
from preflab.train.finished import AnyResult, check_product, read_result
from preflab.train.ownership import FINAL


def find_saved_model(directory: Path) -> Path:
    """Returns the directory of the saved model. If `directory` is a run, returns its subdirectory `final/`. An arm or a
    stage of a study is also a run. Any other directory is returned unchanged.

    Raises `UserError` if `directory` does not exist, is a study, or contains no model. Also raises `UserError` if the
    run has not finished or has diverged, or if the model has changed since the run wrote it.
    """
    if not directory.is_dir():
        raise UserError(f"There is no directory {directory}. Name a finished run or a saved model.")
    if (directory / STUDY_MANIFEST).exists():
        raise UserError(f"{directory} is a study. Name one of its runs, such as {directory}/seed-0/ARM.")
    model = directory
    if read_manifest(directory) is not None:
        require_finished(directory)
        model = directory / FINAL
    if not any((model / name).is_file() for name in ("config.json", ADAPTER_CONFIG)):
        raise UserError(
            f"{model} does not contain a model. Name a run that trained a model, or a directory with a config.json."
        )
    check_product(model)
    return model


def require_finished(directory: Path) -> None:
    """Raises `UserError` if a run has not finished, or has diverged."""
    if not (directory / RESULT).exists():
        raise UserError(f"The run in {directory} has not finished. Repeat the command that started it.")
    if read_result(directory, AnyResult).diverged is not None:
        raise UserError(
            f"The run in {directory} diverged, so it has no model. Repeat the run with a lower learning rate."
        )
