"""Loads a study, either a preset that comes with preflab or the user's own file, in the size that the user asks for."""

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
"""Sizes of a study: the study file as it stands, and the size of the paper."""
PRESETS = Path(__file__).parent / "presets"


class _Sizes(Spec):
    sizes: dict[Name, dict[str, Any]]


def load_study(name: str, size: str | None = None) -> Study:
    """Loads a preset by its name, or a study file (YAML, TOML, JSON), in one of the `sizes` that it offers.

    A file may hold `sizes: {NAME: {...}}`. If the size NAME is asked for, these settings replace the file's own settings,
    at any depth, and the study is called `STUDY-NAME`, so that two sizes never share a directory. The size `smoke` is the
    file without replacements. Raises `UserError` for an unknown name, with the nearest right name, or if a function of
    the user does not load.
    """
    data = study_data(name)
    sizes = _take_sizes(data, name)
    if SMOKE in sizes:
        raise UserError(f"{name}: `sizes` may not hold {SMOKE!r}, which is what the file itself says.")
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
    """Raises `UserError` if a value to try does not suit its arm's method."""
    for arm, space in tuning.spaces.items():
        for settings in grid_points(space, tuning.trials):
            with_settings(study.arms[arm], settings, where=f"{where}: tuning.spaces.{arm}")


def offers_size(name: str, size: str) -> bool:
    """Returns True if a study file offers a size of this name."""
    return size in _take_sizes(study_data(name), name)


def _take_sizes(data: Any, where: str) -> dict[str, dict[str, Any]]:
    """Takes the `sizes` out of a study file's data and returns them. Raises `UserError` if they do not map names to
    settings."""
    sizes = data.pop("sizes", None) if isinstance(data, dict) else None
    return parse_spec(_Sizes, {"sizes": sizes or {}}, where=where).sizes


def study_data(name: str) -> Any:
    """The data in the file of a preset, or in a user's file. Raises `UserError` for an unknown name, with the nearest
    right name."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml", ".toml", ".json"):
        if name not in preset_names():
            raise UserError(
                f"Unknown study {name!r}.{nearest(name, preset_names())} Or give a study file (.yaml, .toml, .json)."
            )
        path = PRESETS / f"{name}.yaml"
    return read_data(path)


def merge_settings(data: Any, patch: Any) -> Any:
    """A copy of `data` in which the values of `patch` replace the old values; mappings inside mappings are merged
    likewise."""
    if not (isinstance(data, dict) and isinstance(patch, dict)):
        return patch
    return {**data, **{key: merge_settings(data.get(key), value) for key, value in patch.items()}}


def preset_names() -> list[str]:
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def preset_summary(name: str) -> str:
    """The comment at the head of a preset, which says what the preset is for, on one line."""
    lines = (PRESETS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return " ".join(line.removeprefix("# ") for line in takewhile(lambda line: line.startswith("#"), lines))
