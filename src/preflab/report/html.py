"""What every page shares: the style sheet, a policy that lets nothing else in, and templates that hide nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from preflab import text
from preflab.report import numbers, views


def style_sheet(*names: str) -> Markup:
    """The style sheets of these names, one after another."""
    templates = files("preflab.report").joinpath("templates")
    return Markup("".join(templates.joinpath(name).read_text(encoding="utf-8") for name in names))


def script(name: str) -> Markup:
    """The script of this name."""
    return Markup(files("preflab.report").joinpath("templates", name).read_text(encoding="utf-8"))


def content_policy(style: Markup, script: Markup | None = None) -> str:
    """A content security policy: no remote source, no style but this one, and no script but the one named, if any."""
    scripts = "" if script is None else f" script-src {_digest(script)};"
    return (
        f"default-src 'none'; style-src {_digest(style)};{scripts} img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(content: Markup) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def environment(written: Callable[[str], str] = text.visible) -> Environment:
    """Templates of `report/templates`, which find `numbers` and `views`: all is escaped, and an unknown name is an error.

    `written`: how a text stands on the page, with nothing hidden in it. The page's own markup stands as it is.
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
    templates.globals.update(numbers=numbers, views=views)
    return templates
