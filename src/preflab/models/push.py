"""Sends a saved model to the Hugging Face hub, or to whatever `HF_ENDPOINT` names. No torch."""

from __future__ import annotations

from pathlib import Path

from preflab.errors import UserError
from preflab.models.hub import call_in_time, first_line

CREATE_SECONDS = 30.0


def create_repository(repository: str) -> None:
    """Creates a repository on the hub before there is anything to send; a new repository is private. Raises `UserError` if
    the name is not that of a repository, or if the hub does not let the user write to the repository."""
    from huggingface_hub import HfApi, constants

    error = call_in_time(lambda: HfApi().create_repo(repository, private=True, exist_ok=True), CREATE_SECONDS)
    if error is not None:
        raise UserError(
            f"{repository!r} cannot be made on {constants.ENDPOINT}: {first_line(error)} Name it USER/NAME, and sign in first "
            "(`hf auth login`, or the variable HF_TOKEN)."
        ) from error


def push_directory(directory: Path, repository: str) -> str:
    """Sends a directory's files in one commit; returns the repository's address. Raises `UserError` if sending fails."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()  # preflab shows its own progress
    try:
        HfApi().upload_folder(repo_id=repository, folder_path=directory, commit_message="Trained with preflab")
    except Exception as error:  # the network, the file system or the hub may raise anything
        raise UserError(
            f"{directory} was not sent to {repository}: {first_line(error)} It is kept; the same command sends it again."
        ) from error
    return f"{constants.ENDPOINT}/{repository}"
