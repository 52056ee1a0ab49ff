"""Parts shared by all HTML pages: style sheets, templates, and a content security policy that allows no remote
content."""

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
    """Returns the style sheets with these names as one text, in the given order."""
    templates = files("preflab.report").joinpath("templates")
    return Markup("".join(templates.joinpath(name).read_text(encoding="utf-8") for name in names))


def script(name: str) -> Markup:
    """Returns the script with this name."""
    return Markup(files("preflab.report").joinpath("templates", name).read_text(encoding="utf-8"))


def content_policy(style: Markup, script: Markup | None = None) -> str:
    """Returns a content security policy. The policy forbids remote sources, all styles except `style`, and all scripts
    except `script`."""
    scripts = "" if script is None else f" script-src {_digest(script)};"
    return (
        f"default-src 'none'; style-src {_digest(style)};{scripts} img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(content: Markup) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def environment(written: Callable[[str], str] = text.visible) -> Environment:
    """Returns the Jinja environment of the templates in `report/templates`. The templates can use the modules `numbers`
    and `views`. All values are escaped, and an undefined name is an error. `written`: the function that makes hidden
    characters in a text visible. Markup is not changed.
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
