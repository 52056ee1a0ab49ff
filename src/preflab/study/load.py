"""Loads a study from a preset that comes with preflab or from the user's file. A study file can define several sizes of
the study."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path
from typing import Any

from preflab.errors import UserError, nearest
from preflab.fields import Name
from preflab.plain import read_data
from preflab.spec import Spec, parse_spec
from preflab.study.plan import grid_points, with_settings
from preflab.study.spec import Study, Tuning

SMOKE, PAPER = "smoke", "paper"
"""The names of two sizes. `smoke` is the study file without changes, and `paper` is the size that the paper uses."""
PRESETS = Path(__file__).parent / "presets"
RENAMED = {"hh-smollm2": "hh", "saferlhf-iter": "saferlhf"}
"""Maps other names to presets: `hh-smollm2` is an old name, and `saferlhf-iter` is a part of the larger `saferlhf`."""


class _Sizes(Spec):
    sizes: dict[Name, dict[str, Any]]


def load_study(name: str, size: str | None = None) -> Study:
    """Loads a preset by its name, or a study file (YAML, TOML, JSON), in one of its sizes.

    A file can define sizes with `sizes: {NAME: SETTINGS}`. In the size NAME, SETTINGS replace the file's settings with
    the same keys, including keys in nested mappings. The name of the study then ends with `-NAME`, so that two sizes
    never share a directory. The size `smoke` is the file without replacements. Raises `UserError` for an unknown name,
    and suggests the most similar name. Also raises `UserError` if a function of the user cannot be imported.
    """
    data = study_data(name)
    sizes = _take_sizes(data, name)
    if SMOKE in sizes:
        raise UserError(f"{name}: rename the size {SMOKE!r} in `sizes`. This name means the file without replacements.")
    if size not in (None, SMOKE):
        if size not in sizes:
            raise UserError(f"{name}: there is no size {size!r}.{nearest(size, [*sizes, SMOKE])}")
        data = merge_settings(data, sizes[size])
        if "name" in data:
            data["name"] = f"{data['name']}-{size}"
    study = parse_spec(Study, data, where=name)
    for place, jobs in (("stages", study.stages), ("arms", study.arms)):
        for key, job in jobs.items():
            job.check_names(f"{name}: `{place}.{key}`")
    if study.tuning is not None:
        _check_tuning(study.tuning, study, name)
    return study


def _check_tuning(tuning: Tuning, study: Study, where: str) -> None:
    """Raises `UserError` if the method of an arm does not accept a value in `tuning.spaces`."""
    for arm, space in tuning.spaces.items():
        for settings in grid_points(space, tuning.trials):
            with_settings(study.arms[arm], settings, where=f"{where}: tuning.spaces.{arm}")


def offers_size(name: str, size: str) -> bool:
    """Returns True if the study file `name` can be loaded in the size `size`."""
    return size in _take_sizes(study_data(name), name)


def _take_sizes(data: Any, where: str) -> dict[str, dict[str, Any]]:
    """Removes `sizes` from a study file's data and returns them. Raises `UserError` if `sizes` does not map names to
    settings."""
    sizes = data.pop("sizes", None) if isinstance(data, dict) else None
    return parse_spec(_Sizes, {"sizes": sizes or {}}, where=where).sizes


def study_data(name: str) -> Any:
    """Reads the file of a preset or a user's file, and returns its data. `name`: the name or the old name of a preset,
    or the path of a file. Raises `UserError` for an unknown name, and suggests the most similar name."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml", ".toml", ".json"):
        name = RENAMED.get(name, name)
        if name not in preset_names():
            raise UserError(
                f"Unknown study {name!r}.{nearest(name, preset_names())} Or give a study file (.yaml, .toml, .json)."
            )
        path = PRESETS / f"{name}.yaml"
    return read_data(path)


def merge_settings(data: Any, patch: Any) -> Any:
    """Returns a copy of `data` in which the values of `patch` replace the old values. Nested mappings are merged in the
    same way. A mapping with another `kind` is not merged and replaces the old mapping, because the old settings belong
    to the old kind."""
    if not (isinstance(data, dict) and isinstance(patch, dict)):
        return patch
    if "kind" in data and patch.get("kind", data["kind"]) != data["kind"]:
        return patch
    return {**data, **{key: merge_settings(data.get(key), value) for key, value in patch.items()}}


def preset_names() -> list[str]:
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def preset_summary(name: str) -> str:
    """Returns the first comment in the file of a preset, on one line. The comment describes the purpose of the
    preset."""
    lines = (PRESETS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return " ".join(line.removeprefix("# ") for line in takewhile(lambda line: line.startswith("#"), lines))
