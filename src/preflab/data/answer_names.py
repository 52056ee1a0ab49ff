"""Lists the field names that data sets use for the two answers of a record."""

from __future__ import annotations

_NOUNS = ("response", "answer", "output", "completion")
BARE_PAIRS = (
    ("winner", "loser"),
    ("preferred", "dispreferred"),
    ("preferred", "rejected"),
    ("accepted", "rejected"),
    ("better", "worse"),
)
"""Field names for a better and a worse answer. In some data sets, these fields contain something else, such as the name
of a model or of another field."""
_WORDS = (("chosen", "rejected"), *BARE_PAIRS, ("preferred", "non_preferred"), ("winning", "losing"))
PAIRS = (
    ("chosen", "rejected"),
    *((f"{better}_{noun}", f"{worse}_{noun}") for better, worse in _WORDS for noun in (*_NOUNS, "messages")),
    *((f"{noun}_{better}", f"{noun}_{worse}") for better, worse in _WORDS for noun in _NOUNS),
    ("response", "rejected_response"),
    ("response_j", "response_k"),
)
"""Field names for a better and a worse answer."""
LETTERED = tuple((f"{noun}_{a}", f"{noun}_{b}") for a, b in ("ab", "AB") for noun in (*_NOUNS, "conversation"))
"""Field names for two answers that are distinguished by a letter. A further field tells which answer is better."""
NUMBERED = tuple((f"{noun}_1", f"{noun}_2") for noun in _NOUNS)
"""Field names for two answers that are numbered 1 and 2. A further field tells which answer is better."""
CHOICE_FIELDS = ("winner", "preference", "preferred", "better", "choice", "label")
"""Names of the fields that may tell which of two answers is better."""
ANSWER_NAMES = frozenset(name for pair in (*BARE_PAIRS, *PAIRS, *LETTERED, *NUMBERED) for name in pair)
"""All field names for answers that this module lists."""
