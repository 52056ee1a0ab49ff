"""Defines the finding of a theory command as plain data: the claim, the command, tables, figures and the verdict.

`preflab theory NAME --output DIR` writes the finding to DIR/NAME.json and the figures to separate files in DIR. The
page `theory.html` is made only from these files. A figure is SVG text, which `drawing.svg_text` makes from a matplotlib
figure.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, JsonValue

from preflab.errors import UserError
from preflab.plain import read_data
from preflab.spec import parse_spec

TheoryVerdict = Literal["holds", "refuted", "not decided"]
FINDINGS = ("counterexample", "check", "synthetic")  # the page `theory.html` shows the findings in this order


def _written(value: Any) -> Any:
    """Turns an infinite number or nan into text, such as `inf`, because JSON cannot represent these numbers."""
    return str(float(value)) if isinstance(value, float) and not math.isfinite(value) else value


FindingCell = Annotated[str | int | float, BeforeValidator(_written)]


class FindingTable(BaseModel, extra="forbid", frozen=True):
    """A table of texts and numbers. Infinity is the text `inf`. The first column contains the names of the rows."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[FindingCell, ...], ...]
    note: str = ""


class FindingFigure(BaseModel, extra="forbid", frozen=True):
    """A figure. `svg` is not part of the JSON file. It is stored in the separate file `file` beside the JSON file."""

    file: Annotated[str, Field(pattern=r"^[a-z0-9-]+\.svg$")]
    title: str
    caption: str
    alt: str
    svg: Annotated[str, Field(exclude=True)] = ""


class Finding(BaseModel, extra="forbid", frozen=True):
    """The result of the test of one claim. `sentence`: the verdict in words. `failure`: what failed, as plain data;
    None if nothing failed. For `preflab theory check`, this is the first failed problem, in the form that `--replay`
    reads. For `preflab theory counterexample`, these are beta and the failed certificates."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    title: str
    claim: str
    command: str
    verdict: TheoryVerdict
    sentence: str
    tables: tuple[FindingTable, ...] = ()
    figures: tuple[FindingFigure, ...] = ()
    notes: tuple[str, ...] = ()
    failure: dict[str, JsonValue] | None = None


def make_folder(directory: Path) -> None:
    """Creates the folder if it does not exist. Raises `UserError` if the folder cannot be created."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"The folder {directory} cannot be created: {error.strerror or error}.") from error


def write_finding(finding: Finding, directory: Path) -> Path:
    """Writes DIR/NAME.json and the figures of the finding, and returns the path of the JSON file.

    Raises `UserError` if a file cannot be written.
    """
    path = directory / f"{finding.name}.json"
    files = {figure.file: figure.svg for figure in finding.figures}
    files[path.name] = finding.model_dump_json(indent=1) + "\n"
    make_folder(directory)
    try:
        for name, content in files.items():
            (directory / name).write_text(content, encoding="utf-8")
    except OSError as error:
        raise UserError(f"The finding cannot be written to {directory}: {error.strerror or error}.") from error
    return path


def read_finding(path: Path) -> Finding:
    """Reads a finding that `write_finding` wrote. Raises `UserError` if the file or a figure is missing or damaged."""
    finding = parse_spec(Finding, read_data(path), where=str(path))
    return finding.model_copy(update={"figures": tuple(_with_svg(figure, path) for figure in finding.figures)})


def _with_svg(figure: FindingFigure, path: Path) -> FindingFigure:
    try:
        return figure.model_copy(update={"svg": (path.parent / figure.file).read_text(encoding="utf-8")})
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The figure {figure.file} of the finding {path} cannot be read: {error}.") from error


def read_findings(directory: Path) -> list[Finding]:
    """Reads all findings in `directory`, in the order of `FINDINGS`."""
    return [read_finding(path) for name in FINDINGS if (path := directory / f"{name}.json").is_file()]
