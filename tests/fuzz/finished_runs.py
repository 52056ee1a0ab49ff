"""The files of a study's finished runs, as `preflab export` takes them, and how one of them is damaged."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from preflab.arm.origin import code_of
from preflab.study.load import load_study
from preflab.study.plan import planned_runs
from preflab.train.directory import RESULT, RUN_FORMAT, RUN_MANIFEST
from preflab.train.finished import checksums
from preflab.train.sealed import SEAL, make_seal, write_sealed

from .mutations import mutate_bytes, mutate_data


def list_finished() -> dict[str, bytes]:
    """The files of the study `smoke`, all of whose runs have finished, as an archive holds them."""
    return dict(_list_finished())


@cache
def _list_finished() -> tuple[tuple[str, bytes], ...]:
    files: dict[str, bytes] = {}
    with TemporaryDirectory() as directory:
        home = Path(directory)
        for run in planned_runs(load_study("smoke"), home):
            spec = run.spec.model_dump(mode="json")
            run.directory.mkdir(parents=True)
            write_sealed(run.directory / RUN_MANIFEST, {"format": RUN_FORMAT, "spec": spec, "code": code_of(spec)})
            (run.directory / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n')
            result = {"diverged": None, "counts": {"flops": 1.0}, "files": checksums(run.directory)}
            write_sealed(run.directory / RESULT, result)
            names = sorted(run.directory.iterdir())
            files |= {path.relative_to(home).as_posix(): path.read_bytes() for path in names}
    return (*files.items(),)


def names_of_runs() -> tuple[str, ...]:
    """The directories of these runs."""
    return tuple(dict.fromkeys(name.rpartition("/")[0] for name in list_finished()))


def damage_record(name: str, content: bytes, draw: random.Random) -> bytes:
    """The bytes of a file with other bytes, or a record that says something else, with a seal that fits or not."""
    file = name.rpartition("/")[2]
    if draw.random() < 0.3 or not file.endswith(".json"):
        return mutate_bytes(content, draw)
    data = json.loads(content)
    del data[SEAL]
    data = mutate_data(data, draw)
    fits = isinstance(data, dict) and draw.random() < 0.8
    return json.dumps(data | {SEAL: make_seal(file, data)} if fits else data).encode()
