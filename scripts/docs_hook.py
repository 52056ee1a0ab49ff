"""What mkdocs does besides: the pages of results, committed as `NAME.html.gz`, become pages of the documentation.

A link to `NAME.html.gz` therefore leads to the file where the Markdown is read, and to the page where the documentation is.
"""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the unpacked pages."""
    packed = [file for file in files if file.src_uri.endswith(".html.gz") and file.abs_src_path is not None]
    for file in packed:
        page = gzip.decompress(Path(str(file.abs_src_path)).read_bytes())
        files.append(File.generated(config, file.src_uri.removesuffix(".gz"), content=page))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    return re.sub(r"(\]\([^)\s]+\.html)\.gz\)", r"\1)", markdown)
