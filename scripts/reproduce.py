"""Maps each cell of the paper's tables and figures to a study, an arm, a measure and a split, and writes docs/reproduce.md.

`.venv/bin/python scripts/reproduce.py > docs/reproduce.md` writes it again; a test compares the two. The map is in
`scripts/reproduce.yaml`. The script opens each preset at a size of the paper, and exits with 1 if a cell names an arm, a
measure or a split that the preset does not have.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from preflab.errors import UserError
from preflab.evaluation.measure import VALIDATION
from preflab.plain import read_data
from preflab.study.load import PAPER, load_study
from preflab.study.spec import Study
from preflab.testbeds.base import SPLITS

MAP = Path(__file__).with_suffix(".yaml")
CELLS = {
    "Figure 1": 5,
    "Figure 2": 12,
    "Table 1": 12,
    "Table 2": 33,
    "Table 3": 35,
    "Table 4": 16,
    "Table 5": 4,
    "Table 6": 26,
    "Table 7": 48,
    "Table 8": 14,
    "Tables 9 and 10": 4,
    "Table 11": 14,
    "Table 12": 4,
    "Table 13": 9,
}
"""The number of cells of each table and figure of the paper. The map must contain all of them."""
LEVELS = ("introductory", "interview", "competition")
"""The levels of difficulty of APPS."""
WIN_RATE = "win / tie / lose"
INTRODUCTION = """\
# Reproduce the paper

Each cell of the paper's tables and figures is measured by one arm of a study that comes with preflab. This page says
which: put `preflab study` before what stands in the column "study". The report shows the measure for each arm, with
intervals. The size `paper` measures with evaluators that it trains itself, `paper-evaluator` with the paper's own; the report
of each says so. Where a column compares two policies, or a policy with the data, the study compares them by its evaluator
(`pairwise`), and `preflab winrate` asks a model or people. `seed-0` stands for each seed: name the models of all seeds,
separated by commas. Figures of other systems are quoted in the
reports, and preflab does not measure them. The paper's table numbers for dialogue (4 and 5) follow the order of its text.

`scripts/reproduce.py` writes this page from `scripts/reproduce.yaml`. It opens every study and fails if a cell names an
arm, a measure or a split that the study does not have.
"""


class CellSource(NamedTuple):
    """A cell of the paper, and where its number comes from."""

    row: str
    column: str
    study: str = ""
    arm: str = ""
    measure: str = ""
    split: str = ""
    note: str = ""


def write_page(tables: list[Mapping[str, Any]]) -> str:
    """Returns the page. Raises `UserError` for a cell that no study measures, and for a table or a cell that the map
    lacks."""
    if missing := sorted(CELLS.keys() - {table["table"] for table in tables}):
        raise UserError(f"{MAP.name} lacks {', '.join(missing)}.")
    for table in tables:
        count = sum(len(rows_of(part)) * len(part["columns"]) for part in table["parts"])
        if count != CELLS[table["table"]]:
            raise UserError(f"{MAP.name} has {count} cells of {table['table']}. The paper has {CELLS[table['table']]}.")
    sections = [write_section(table) for table in tables]
    return "\n".join([INTRODUCTION, *sections])


def write_section(table: Mapping[str, Any]) -> str:
    lines = [f"## {table['table']}: {table['title']}", ""]
    if "note" in table:
        lines += [table["note"], ""]
    lines.append("| row | column | study | arm | measure | split |")
    lines.append("|---|---|---|---|---|---|")
    for part in table["parts"]:
        for cell in cells_of(part):
            source = f"`{cell.study}` | `{cell.arm}` | {cell.measure} | {cell.split}" if cell.study else cell.note
            lines.append(f"| {cell.row} | {cell.column} | {source}{'' if cell.study else ' | | |'} |")
    return "\n".join([*lines, ""])


def cells_of(part: Mapping[str, Any]) -> Iterator[CellSource]:
    """Yields the cells of a part of a table. Raises `UserError` if a study does not measure one of them."""
    columns = {name: {} for name in part["columns"]} if isinstance(part["columns"], list) else part["columns"]
    note = f"`{part['command']}`" if "command" in part else "quoted"
    for row, row_value in rows_of(part).items():
        for column, settings in columns.items():
            if "study" not in part:
                yield CellSource(row, column, note=note)
                continue
            arm = part["arm"].format(row=row_value, column=settings.get("name", column))
            yield measured_cell(row, column, part, arm, settings)


def rows_of(part: Mapping[str, Any]) -> Mapping[str, str]:
    rows = part.get("quoted") or part["rows"]
    return {str(row): str(row) for row in rows} if isinstance(rows, list) else rows


def measured_cell(row: str, column: str, part: Mapping[str, Any], arm: str, settings: Mapping[str, Any]) -> CellSource:
    """Returns a cell that an arm measures. Raises `UserError` if the study has no such arm, measure, level or split."""
    size = part.get("size", PAPER)
    study, place = open_size(part["study"], size), f"{row}, {column}"
    if arm not in study.arms:
        raise UserError(f"{place}: the study {part['study']} has no arm {arm!r}.")
    measure, split = settings["measure"], settings.get("split", "test")
    if measure == WIN_RATE:
        return CellSource(row, column, told(part, size), arm, compared(study, arm, settings, place), split)
    name = VALIDATION + measure if split == "validation" else measure
    if name not in measured_names(study):
        raise UserError(f"{place}: the study {part['study']} does not measure {name!r}.")
    if split not in SPLITS or settings.get("level", LEVELS[0]) not in LEVELS:
        raise UserError(f"{place}: there is no split {split!r} or no level {settings.get('level')!r}.")
    level = f", {settings['level']}" if "level" in settings else ""
    return CellSource(row, column, told(part, size), arm, measure + level, split)


def told(part: Mapping[str, Any], size: str) -> str:
    """Returns what `preflab study` is told: the study, its size and its model."""
    model = f" --model {part['model']}" if "model" in part else ""
    return f"{part['study']} --size {size}{model}"


def compared(study: Study, arm: str, settings: Mapping[str, Any], place: str) -> str:
    """Describes a comparison of an arm with another arm or with the data."""
    against = settings["against"]
    if against not in study.arms and not against.startswith("data:"):
        raise UserError(f"{place}: the study has no arm {against!r} to compare with.")
    judge = settings.get("judge", "openai:gpt-4")
    sides = f"{contestant(study, arm)} {contestant(study, against)}"
    command = f"`preflab winrate {sides} --testbed {study.testbed.kind_name} --judge {judge}`"
    own = next((name for name, each in study.pairwise.items() if (arm, against) in each.pairs_among(study.arms)), "")
    if own and judge != "human":
        return f"{WIN_RATE}, `pairwise.{own}` by the evaluator, or {command}"
    return f"{WIN_RATE}, {command}"


def contestant(study: Study, name: str) -> str:
    """Returns a contestant as `preflab winrate` takes it: the data's answers, or the model that an arm trains. An arm that
    only measures the model of a stage names this model."""
    if name.startswith("data:"):
        return name
    stage = (study.arms[name].policy or "").removeprefix("stage:")
    return f"{name}=runs/{study.name}/seed-0/{f'stages/{stage}' if stage else name}/final"


def measured_names(study: Study) -> set[str]:
    """Returns the names of all measures of a study's evaluators, those on the validation split if they are measured, and
    those relative to another arm."""
    own = {measure.name for row in study.measures.values() for measure in row}
    held = {VALIDATION + name for name in own} if study.evaluation.validation else set[str]()
    relative = {each.measure.name for evaluator in study.evaluators.values() for each in evaluator.relative}
    return own | held | relative


@lru_cache
def open_size(name: str, size: str) -> Study:
    return load_study(name, size)


if __name__ == "__main__":
    try:
        print(write_page(read_data(MAP)), end="")
    except UserError as error:
        sys.exit(f"{error}")
