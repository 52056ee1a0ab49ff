"""Makes the content security policy of preflab's HTML pages. The policy forbids remote content. It allows only the
page's own styles and scripts."""

from __future__ import annotations

import base64
import hashlib


def content_policy(style: str, script: str | None = None, *, images: bool = True, connects: bool = False) -> str:
    """Returns a content security policy. The policy forbids remote sources, all styles except `style`, and all scripts
    except `script`. `images`: the page may show images that it contains. `connects`: the page may send requests to the
    server that it came from."""
    scripts = "" if script is None else f" script-src {_digest(script)};"
    shown = " img-src data:;" if images else ""
    requests = " connect-src 'self';" if connects else ""
    return (
        f"default-src 'none'; style-src {_digest(style)};{scripts}{shown}{requests} base-uri 'none'; form-action 'none'"
    )


def _digest(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
