"""Writes and reads `human.json`, which records the contestant and the settings behind each answer of a contest that
people judge.

The texts of the answers are in `pairs.jsonl`, which the labelling page reads. `pairs.jsonl` does not contain the names
of the contestants, so that raters do not know them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
from pydantic import BaseModel, ConfigDict

from preflab.arm.saved import find_saved_model
from preflab.contest.contestant import Entrant
from preflab.contest.files import SAVED_FILE
from preflab.contest.questions import Ballot
from preflab.contest.settings import Contest
from preflab.errors import UserError
from preflab.evaluation.preference.base import PreferenceQuestion
from preflab.paths import user_path
from preflab.rating import kept_pairs
from preflab.train.directory import differing_paths
from preflab.train.files import file_digests, read_json, sha256, write_json
from preflab.types import Completion, Prompt


class SavedPairs(BaseModel):
    """The questions about two contestants. first, second: the names of the contestants. pairs: the names of the pairs
    of answers, with one row for each seed."""

    model_config = ConfigDict(extra="forbid")
    first: str
    second: str
    pairs: list[list[str]]


class SavedContest(BaseModel):
    """The content of `human.json`. settings: all settings on which the answers depend. prompts: the ids of the prompts,
    in the order of the columns."""

    model_config = ConfigDict(extra="forbid")
    settings: dict[str, Any]
    testbed: str
    notes: list[str]
    prompts: list[str]
    contests: list[SavedPairs]


def write_saved_pairs(contest: Contest, ballot: Ballot, folder: Path) -> None:
    """Writes `human.json`, which records the contestants that gave the answers in the folder's `pairs.jsonl`."""
    rows = next(iter(ballot.rows.values()))
    saved = SavedContest(
        settings=answering_settings(contest),
        testbed=ballot.testbed,
        notes=[*ballot.notes],
        prompts=[question.prompt.id for question in rows[0]],
        contests=[
            SavedPairs(first=names[0], second=names[1], pairs=[[each.pair for each in row] for row in table])
            for names, table in ballot.rows.items()
        ],
    )
    write_json(folder / SAVED_FILE, saved.model_dump(mode="json"))


def read_saved_pairs(contest: Contest, folder: Path) -> Ballot:
    """Reads the questions of a contest from a folder. Raises `UserError` if the folder contains a contest with other
    settings than `contest`, or if `human.json` is damaged."""
    path = folder / SAVED_FILE
    try:
        saved = SavedContest.model_validate(read_json(path))
    except pydantic.ValidationError as error:
        raise UserError(f"{path} is damaged. Restore the file as preflab wrote it.") from error
    changed = differing_paths(saved.settings, answering_settings(contest))
    if changed:
        raise UserError(
            f"{folder} contains the pairs of a contest with other settings (different: {', '.join(changed)}). Name another "
            "--output, or repeat the command that began that contest."
        )
    return Ballot(
        saved.testbed,
        {(each.first, each.second): _questions(each, saved, folder) for each in saved.contests},
        saved.notes,
    )


def _questions(each: SavedPairs, saved: SavedContest, folder: Path) -> list[list[PreferenceQuestion]]:
    by_name = {pair.id: pair for pair in kept_pairs(folder)}
    rows: list[list[PreferenceQuestion]] = []
    for row in each.pairs:
        if missing := [name for name in row if name not in by_name]:
            raise UserError(
                f"{folder}: the pair {missing[0]!r} is in {SAVED_FILE}, but not in pairs.jsonl. Restore pairs.jsonl."
            )
        pairs = [(name, by_name[name]) for name in row]
        rows.append(
            [
                PreferenceQuestion(name, Prompt(prompt, pair.prompt), Completion(pair.first), Completion(pair.second))
                for prompt, (name, pair) in zip(saved.prompts, pairs, strict=True)
            ]
        )
    return rows


def answering_settings(contest: Contest) -> dict[str, Any]:
    """Returns a JSON-compatible dictionary of the settings on which the contestants' answers depend. It also contains
    checksums of the contestants' files and directories."""
    settings = contest.dump()
    endpoint = contest.judge.endpoint
    asks = any(each.source == "endpoint" for each in contest.contestants)
    return {
        **{name: settings[name] for name in ("testbed", "decoding", "prompts", "seed")},
        "endpoint": [endpoint.base_url, endpoint.request] if asks else [],
        "contestants": {each.name: list(each.members) for each in contest.contestants},
        "files": {member: digest for each in contest.contestants for member, digest in _file_digests(each)},
    }


def _file_digests(contestant: Entrant) -> list[tuple[str, Any]]:
    """Returns the path of each file or model directory of a contestant, with checksums of the content."""
    paths = [(member, user_path(member)) for member in contestant.members]
    if contestant.source == "file":
        return [(member, sha256(path)) for member, path in paths]
    if contestant.source != "model":
        return []
    models = [(member, find_saved_model(path)) for member, path in paths if path.is_dir()]
    return [(member, file_digests(model)) for member, model in models]
