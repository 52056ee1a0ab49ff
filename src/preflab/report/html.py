"""What every page shares: the style sheet, a policy that lets nothing else in, and templates that hide nothing."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from preflab import text


def style_sheet(*names: str) -> Markup:
    """The style sheets of these names, one after another."""
    templates = files("preflab.report").joinpath("templates")
    return Markup("".join(templates.joinpath(name).read_text(encoding="utf-8") for name in names))


def content_policy(style: Markup) -> str:
    """A content security policy: no script, no remote source, and no style but this one."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


def environment() -> Environment:
    """Templates of `report/templates`: all is escaped, and an unknown name is an error."""
    return Environment(
        loader=PackageLoader("preflab.report"),
        autoescape=True,
        finalize=_seen,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _seen(value: Any) -> Any:
    """What the template writes: text with nothing hidden in it; the page's own markup as it is."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else text.visible(value)
