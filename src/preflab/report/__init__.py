"""Renders a study's results as an HTML page, as Markdown, as a CSV table, and in the terminal.

This package renders the record `Results`, which `preflab.analysis.record` defines. The package does not import torch.
It imports matplotlib only when it draws figures.
"""

from __future__ import annotations

from pathlib import Path

from preflab.analysis.record import Results, dump_results, known_measure, read_results
from preflab.errors import UserError
from preflab.report.summary import print_summary

__all__ = ["Results", "dump_results", "known_measure", "print_summary", "read_results", "write_report"]


def write_report(results: Results, directory: Path, *, samples: bool = True) -> Path:
    """Writes `report.html`, `report.md`, `results.json` and `results.csv`, and returns the path of `report.html`.

    If `samples` is False, the files contain no texts of prompts or answers. Use False for data that must not be
    redistributed. Each file is replaced atomically, so that no program ever reads a partial file. Raises `UserError` if
    a file cannot be written.
    """
    from preflab.report.markdown import render_markdown
    from preflab.report.page import render_html
    from preflab.report.table import render_csv

    results = results if samples else results.without_samples()
    rendered = {
        "results.json": dump_results(results),
        "results.csv": render_csv(results),
        "report.md": render_markdown(results),
        "report.html": render_html(results),
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in rendered.items():
            aside = directory / f".{name}.new"
            aside.write_bytes(content.encode("utf-8"))
            aside.replace(directory / name)
    except OSError as error:
        raise UserError(f"The report cannot be written to {directory}: {error.strerror or error}.") from error
    return directory / "report.html"
