"""Lets people rate pairs of answers on a blinded page, and summarises their labels.

`serve` serves the page on this computer. `export_page` writes the page into one file for a rater elsewhere, and
`import_labels` reads the file that this rater sends back. `read_labels` returns the labels in a folder. `summarise`
computes from labels how often the first answer wins and how well the raters agree, with intervals.
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
