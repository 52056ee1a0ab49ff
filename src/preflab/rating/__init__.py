"""People rate pairs of answers: a blinded local page, a page in one file for raters elsewhere, and what the labels say.

`serve` opens the page on this computer, `export_page` writes it as one file, and `import_labels` reads what a rater of that
file sends back. `read_labels` returns the labels of a folder, and `summarise` computes shares, agreement and intervals.
"""

from __future__ import annotations

from preflab.rating.exported import export_page, import_labels
from preflab.rating.folder import keep_pairs, kept_pairs, read_labels
from preflab.rating.pairs import Label, RatedPair, name_prompts, read_pairs
from preflab.rating.server import serve
from preflab.rating.summary import RatingSummary, summarise

__all__ = [
    "Label",
    "RatedPair",
    "RatingSummary",
    "export_page",
    "import_labels",
    "keep_pairs",
    "kept_pairs",
    "name_prompts",
    "read_labels",
    "read_pairs",
    "serve",
    "summarise",
]
