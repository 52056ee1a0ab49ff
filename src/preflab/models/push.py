"""Uploads a saved model to the Hugging Face hub, or to the server that `HF_ENDPOINT` names, without importing torch."""

from __future__ import annotations

import re
from pathlib import Path

from preflab.errors import UserError
from preflab.models.hub import call_in_time, first_line

CREATE_SECONDS = 30.0


def create_repository(repository: str) -> None:
    """Creates a private repository on the hub if it does not exist yet. Call it before training, so that mistakes are
    found early. Raises `UserError` if `repository` is not a valid name, or if the user may not write to the
    repository."""
    from huggingface_hub import HfApi, constants

    if re.fullmatch(r"[\w.-]+/[\w.-]+", repository) is None:
        raise UserError(f"{repository!r} is not the name of a repository. Give USER/NAME.")
    error = call_in_time(lambda: HfApi().create_repo(repository, private=True, exist_ok=True), CREATE_SECONDS)
    if error is not None:
        raise UserError(
            f"The repository {repository!r} cannot be made on {constants.ENDPOINT} ({first_line(error)}). Check the "
            "network, and sign in first (`hf auth login`, or the variable HF_TOKEN)."
        ) from error


def push_directory(directory: Path, repository: str) -> str:
    """Uploads the files of a directory in one commit and returns the repository's address. Raises `UserError` if the
    upload fails."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()  # preflab shows its own progress instead
    try:
        HfApi().upload_folder(repo_id=repository, folder_path=directory, commit_message="Trained with preflab")
    except Exception as error:  # the network, the file system or the hub may raise any exception
        raise UserError(
            f"{directory} was not sent to {repository}: {first_line(error)} The directory is kept. Give the same "
            "command again to send it."
        ) from error
    return f"{constants.ENDPOINT}/{repository}"
