"""Renders the findings of `preflab theory`: all findings of a directory as an HTML page, and one finding in the
terminal."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table as Grid
from rich.text import Text

from preflab import text
from preflab.errors import UserError
from preflab.page_policy import content_policy
from preflab.report import numbers
from preflab.report.html import environment, style_sheet
from preflab.terminal import Terminal
from preflab.theory.finding import Finding, FindingTable, read_findings

_STYLES = {"holds": "bold green", "refuted": "bold red", "not decided": "bold yellow"}


def write_page(directory: Path) -> Path:
    """Reads the findings in `directory`, writes the page `theory.html` into the same directory, and returns the path of
    the page.

    Raises `UserError` if a finding is damaged or the page cannot be written.
    """
    path = directory / "theory.html"
    page = render_page(read_findings(directory))
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"The page cannot be written to {directory}: {error.strerror or error}.") from error
    return path


def render_page(findings: Sequence[Finding]) -> str:
    """Returns the page as HTML without scripts and without remote content. The same findings give the same bytes."""
    style = style_sheet("style.css", "theory.css")
    functions = {"cell_words": cell_words, "numeric": numeric, "data_uri": data_uri}
    page = environment().get_template("theory.html.j2")
    return page.render(functions, findings=findings, style=style, policy=content_policy(style))


def data_uri(svg: str) -> str:
    """Returns a drawing as a data URI for an <img> element, in which browsers do not run scripts."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def cell_words(cell: str | int | float) -> str:
    """Returns the text of a table cell. A number is written with about three digits."""
    return cell if isinstance(cell, str) else numbers.format_number(cell)


def numeric(table: FindingTable, column: int) -> bool:
    """Returns True if at least one cell of this column is a number. The whole column is then aligned to the right."""
    return any(not isinstance(row[column], str) for row in table.rows)


def print_finding(finding: Finding, console: Terminal) -> None:
    """Prints a finding: the claim, the tables, the notes and the verdict. The verdict is last, so that it stays visible
    on the screen. All texts are printed as plain text, so that rich markup in the finding has no effect."""
    console.print(Text(text.one_line(finding.title), style="bold"))
    console.print(Text(text.one_line(finding.claim)))
    for table in finding.tables:
        console.print()
        console.print(Text(text.one_line(table.title), style="bold"))
        console.print(_grid(table))
        if table.note:
            console.print(Text(text.one_line(table.note), style="dim"))
    console.print()
    for note in finding.notes:
        console.print(Text(f"- {text.one_line(note)}", style="dim"))
    console.print()
    verdict = Text(finding.verdict.capitalize(), style=_STYLES[finding.verdict])
    console.print(Text.assemble(verdict, f". {text.one_line(finding.sentence)}"))


def _grid(table: FindingTable) -> Grid:
    grid = Grid(box=None, pad_edge=False, header_style="dim")
    for index, column in enumerate(table.columns):
        grid.add_column(Text(text.one_line(column)), justify="right" if numeric(table, index) else "left")
    for row in table.rows:
        grid.add_row(*(Text(text.one_line(cell_words(cell))) for cell in row))
    return grid
