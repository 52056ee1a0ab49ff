"""Functions for all HTML pages: they read style sheets and scripts, and prepare the Jinja templates."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from preflab import text
from preflab.report import claims, collapses, evaluators, metrics, numbers, settings, spending, verdicts

MODULES = {
    "claims": claims,
    "collapses": collapses,
    "evaluators": evaluators,
    "metrics": metrics,
    "numbers": numbers,
    "settings": settings,
    "spending": spending,
    "verdicts": verdicts,
}
"""The modules that the Jinja templates can use. Maps the name of a module in the templates to the module."""


def style_sheet(*names: str) -> Markup:
    """Reads the style sheets with these file names, and returns their contents as one text in the given order."""
    templates = files("preflab.report").joinpath("templates")
    return Markup("".join(templates.joinpath(name).read_text(encoding="utf-8") for name in names))


def script(name: str) -> Markup:
    """Returns the content of the JavaScript file with this name."""
    return Markup(files("preflab.report").joinpath("templates", name).read_text(encoding="utf-8"))


def environment(written: Callable[[str], str] = text.visible) -> Environment:
    """Returns the Jinja environment of the templates in `report/templates`. The templates can use the modules
    in `MODULES`. All values are escaped. An undefined name is an error.

    `written`: a function that makes the hidden characters of a text visible. It is applied to every text except
    `Markup`.
    """

    def finalize(value: Any) -> Any:
        return value if isinstance(value, Markup) or not isinstance(value, str) else written(value)

    templates: Any = Environment(
        loader=PackageLoader("preflab.report"),
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals.update(MODULES)
    return templates
