"""Finds the saved model that a directory holds: what a finished run trained, or the directory itself. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from preflab.errors import UserError
from preflab.models.load import ADAPTER_CONFIG
from preflab.train.directory import RESULT, STUDY_MANIFEST, read_manifest
from preflab.train.finished import FINAL, check_product, read_result


def find_saved_model(directory: Path) -> Path:
    """Returns the directory of the model: `final/` of a finished run (an arm or a stage of a study is a run too), or
    `directory` itself if it holds a model.

    Raises `UserError` if the run has not finished or has diverged, if there is no model, or if it is no longer as the run
    wrote it.
    """
    if not directory.is_dir():
        raise UserError(f"There is no directory {directory}: name a finished run, or a saved model.")
    if (directory / STUDY_MANIFEST).exists():
        raise UserError(f"{directory} is a study: name one of its runs, such as {directory}/seed-0/ARM.")
    model = directory
    if read_manifest(directory) is not None:
        require_finished(directory)
        model = directory / FINAL
    if not any((model / name).is_file() for name in ("config.json", ADAPTER_CONFIG)):
        raise UserError(f"{model} holds no model: name a run that trained one, or a directory with its config.json.")
    check_product(model)
    return model


def require_finished(directory: Path) -> None:
    """Raises `UserError` if a run has not finished, or has diverged."""
    if not (directory / RESULT).exists():
        raise UserError(f"The run in {directory} has not finished: the command that began it goes on.")
    if read_result(directory)["diverged"] is not None:
        raise UserError(f"The run in {directory} diverged: there is no model to use. Lower its learning rate.")
