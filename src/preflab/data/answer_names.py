"""Lists the names that data sets give to the two answers of a record."""

from __future__ import annotations

_NOUNS = ("response", "answer", "output", "completion")
BARE_PAIRS = (
    ("winner", "loser"),
    ("preferred", "dispreferred"),
    ("preferred", "rejected"),
    ("accepted", "rejected"),
    ("better", "worse"),
)
"""Names of a better and a worse answer that may also be names of models, or of other fields."""
_WORDS = (("chosen", "rejected"), *BARE_PAIRS, ("preferred", "non_preferred"), ("winning", "losing"))
PAIRS = (
    ("chosen", "rejected"),
    *((f"{better}_{noun}", f"{worse}_{noun}") for better, worse in _WORDS for noun in (*_NOUNS, "messages")),
    *((f"{noun}_{better}", f"{noun}_{worse}") for better, worse in _WORDS for noun in _NOUNS),
    ("response", "rejected_response"),
    ("response_j", "response_k"),
)
"""Names of a better and a worse answer."""
LETTERED = tuple((f"{noun}_{a}", f"{noun}_{b}") for a, b in ("ab", "AB") for noun in (*_NOUNS, "conversation"))
"""Names of two answers, to which another field adds which one is better."""
NUMBERED = tuple((f"{noun}_1", f"{noun}_2") for noun in _NOUNS)
"""As `LETTERED`, for answers that are counted from 1."""
CHOICE_FIELDS = ("winner", "preference", "preferred", "better", "choice", "label")
"""Fields that may say which of two answers is better."""
ANSWER_NAMES = frozenset(name for pair in (*BARE_PAIRS, *PAIRS, *LETTERED, *NUMBERED) for name in pair)
"""Every name above of an answer."""
