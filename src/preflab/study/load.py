"""Loads study files, the presets that come with preflab and the user's own, in the size that is asked for."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path
from typing import Any

from preflab.errors import UserError, nearest
from preflab.spec import parse_spec, read_data
from preflab.study.spec import Study

SMOKE, PAPER = "smoke", "paper"
"""Sizes of a study: what its file says, and the paper's."""
PRESETS = Path(__file__).parent / "presets"


def load_study(name: str, size: str | None = None) -> Study:
    """A preset by its name, or a study file (YAML, TOML, JSON), in one of the `sizes` that it offers.

    A file may hold `sizes: {NAME: {...}}`: settings that replace its own, at any depth, when that size is asked for; the
    study is then called `STUDY-NAME`, so that two sizes never share a directory. The size `smoke` is what the file itself
    says. Raises `UserError` with the nearest right name.
    """
    data = study_data(name)
    sizes = (data.pop("sizes", None) or {}) if isinstance(data, dict) else {}
    if SMOKE in sizes:
        raise UserError(f"{name}: `sizes` may not hold {SMOKE!r}, which is what the file itself says.")
    if size not in (None, SMOKE):
        if size not in sizes:
            raise UserError(f"{name}: there is no size {size!r}.{nearest(size, [*sizes, SMOKE])}")
        data = merge_settings(data, sizes[size])
        data["name"] = f"{data.get('name')}-{size}"
    return parse_spec(Study, data, where=name)


def offers_size(name: str, size: str) -> bool:
    """Whether a study file offers a size."""
    data = study_data(name)
    return isinstance(data, dict) and size in (data.get("sizes") or {})


def study_data(name: str) -> Any:
    """What the file of a preset or of the user's says. Raises `UserError` with the nearest right name."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml", ".toml", ".json"):
        if name not in preset_names():
            raise UserError(
                f"Unknown study {name!r}.{nearest(name, preset_names())} Or give a study file (.yaml, .toml, .json)."
            )
        path = PRESETS / f"{name}.yaml"
    return read_data(path)


def merge_settings(data: Any, patch: Any) -> Any:
    """`data` with the values of `patch` in place of its own, mapping by mapping."""
    if not (isinstance(data, dict) and isinstance(patch, dict)):
        return patch
    return {**data, **{key: merge_settings(data.get(key), value) for key, value in patch.items()}}


def preset_names() -> list[str]:
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def preset_summary(name: str) -> str:
    """The first comment of a preset: what it is for, all its lines."""
    lines = (PRESETS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return " ".join(line.removeprefix("#").strip() for line in takewhile(lambda line: line.startswith("#"), lines))
