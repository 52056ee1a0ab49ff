"""Writes `report.md`, a short report to paste into an issue or a chat. It contains the verdict, the table of arms, the
comparisons and the caveats."""

from __future__ import annotations

import re

from markupsafe import Markup

from preflab import text
from preflab.analysis.record import Results
from preflab.report.html import environment

_SPECIAL = re.compile(r"([\\`*_\[\]#|~!$<>&])")
_FENCES = re.compile(r"`+")


def render_markdown(results: Results) -> str:
    """Returns the text of `report.md`. The same results give the same text."""
    return environment(escaped).get_template("report.md.j2").render(results=results, fenced=fenced)


def escaped(value: str) -> Markup:
    """Returns a text as one line with escaped special characters, so that Markdown and HTML show the text literally."""
    return Markup(_SPECIAL.sub(r"\\\1", text.one_line(value)))


def fenced(value: str) -> Markup:
    """Returns a text in a code block. The fence is longer than any fence in the text, so that the text cannot end the
    block."""
    visible = text.visible(value)
    fence = "`" * max([3, *(len(run) + 1 for run in _FENCES.findall(visible))])
    return Markup(f"{fence}text\n{visible}\n{fence}")
