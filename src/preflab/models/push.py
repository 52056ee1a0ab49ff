"""Uploads a saved model to the Hugging Face hub, or to the server in the variable `HF_ENDPOINT`. This module does not
import torch."""

from __future__ import annotations

import re
from pathlib import Path

from preflab.errors import UserError
from preflab.models.hub import call_in_time, first_line

CREATE_SECONDS = 30.0


def create_repository(repository: str) -> None:
    """Creates a private repository on the hub if the repository does not exist yet. Call this function before training,
    so that errors are found early. Raises `UserError` if `repository` is not a valid name, or if the repository cannot
    be created."""
    from huggingface_hub import HfApi, constants

    if re.fullmatch(r"[\w.-]+/[\w.-]+", repository) is None:
        raise UserError(f"{repository!r} is not the name of a repository. Give a name of the form USER/NAME.")
    error = call_in_time(lambda: HfApi().create_repo(repository, private=True, exist_ok=True), CREATE_SECONDS)
    if error is not None:
        raise UserError(
            f"The repository {repository!r} cannot be created on {constants.ENDPOINT} ({first_line(error)}). Check the "
            "network, and sign in first (`hf auth login`, or the variable HF_TOKEN)."
        ) from error


def push_directory(directory: Path, repository: str) -> str:
    """Uploads the files of a directory to a repository in one commit. Returns the address of the repository. Raises
    `UserError` if the upload fails."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()  # preflab shows its own progress instead
    try:
        HfApi().upload_folder(repo_id=repository, folder_path=directory, commit_message="Trained with preflab")
    except Exception as error:  # the network, the file system or the hub can raise any exception
        raise UserError(
            f"{directory} was not uploaded to {repository}: {first_line(error)} The directory is kept. Run the same "
            "command again to upload it."
        ) from error
    return f"{constants.ENDPOINT}/{repository}"
