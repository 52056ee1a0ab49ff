"""Renders the rating page as one HTML text. The text contains the page's style and script. An exported page also
contains the pairs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from preflab.page_policy import content_policy
from preflab.rating.order import order_answers
from preflab.rating.pairs import RatedPair
from preflab.text import visible

DEFAULT_QUESTION = "Which answer is more helpful?"
_ESCAPES = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


def render_rating(data: Mapping[str, Any], *, connects: bool) -> str:
    """Returns the page. `data`: the data that the page's script reads. `connects`: whether the page sends the labels to
    the server that it came from. If not, the page stores the labels itself."""
    templates = Environment(
        loader=PackageLoader("preflab.rating"), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    style, script = _read_part("rate.css"), _read_part("rate.js")
    return templates.get_template("rate.html.j2").render(
        policy=page_policy(connects=connects),
        style=Markup(style),
        script=Markup(script),
        data=Markup(
            json.dumps(data).translate(_ESCAPES)
        ),  # with these escapes, no text can end the HTML element that contains the data
    )


def page_policy(*, connects: bool) -> str:
    """Returns the page's content security policy."""
    return content_policy(_read_part("rate.css"), _read_part("rate.js"), images=False, connects=connects)


def show_pair(pair: RatedPair, *, swapped: bool) -> dict[str, Any]:
    """Returns a pair as JSON data, in the form that the page's script reads. Hidden characters are made visible."""
    answers = [visible(text) for text in order_answers(pair, swapped)]
    return {"id": pair.id, "prompt": [[turn.role, visible(turn.content)] for turn in pair.prompt], "answers": answers}


def show_pairs(pairs: Sequence[RatedPair], swapped: Sequence[bool]) -> list[dict[str, Any]]:
    """Returns pairs as JSON data, in the form that the page's script reads. `swapped`: for each pair, whether its
    answers are swapped."""
    return [show_pair(pair, swapped=each) for pair, each in zip(pairs, swapped, strict=True)]


def _read_part(name: str) -> str:
    return files("preflab.rating").joinpath("templates", name).read_text(encoding="utf-8")
