"""From the numbers of a study to what people read: an HTML page, Markdown, a CSV table, and the terminal.

`results.py` defines the record of a study's findings; everything else renders it. Nothing here needs torch, and
matplotlib is imported only when figures are drawn.
"""

from __future__ import annotations

from pathlib import Path

from preflab.analysis.record import Results, dump_results, known_measure, read_results
from preflab.errors import UserError
from preflab.report.summary import print_summary

__all__ = ["Results", "dump_results", "known_measure", "print_summary", "read_results", "write_report"]


def write_report(results: Results, directory: Path, *, samples: bool = True) -> Path:
    """Writes `report.html`, `report.md`, `results.json` and `results.csv` and returns the page's path.

    With `samples` False no text of a prompt or an answer is in any of them (for data that may not be passed on). A file
    is replaced in one step, so that a reader never sees half of it. Raises `UserError` where it cannot be written.
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
