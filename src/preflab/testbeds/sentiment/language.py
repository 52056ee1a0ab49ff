"""Defines the words of the testbed `sentiment`: the topics, the aspects of each topic, and the opinion words that suit
each aspect."""

from __future__ import annotations

from collections.abc import Mapping

OPINIONS: Mapping[str, Mapping[str, float]] = {
    "person": {"friendly": 2.0, "polite": 1.5, "rude": -2.0, "careless": -1.25},
    "taste": {"delicious": 2.0, "fresh": 1.25, "stale": -2.0, "bland": -1.5},
    "place": {"spacious": 2.0, "clean": 1.5, "filthy": -2.0, "cramped": -1.25},
    "cost": {"fair": 1.75, "low": 1.25, "unfair": -1.75, "high": -1.25},
    "sound": {"clear": 1.75, "calm": 1.25, "noisy": -2.0, "harsh": -1.5},
    "speed": {"prompt": 2.0, "quick": 1.5, "late": -2.0, "sluggish": -1.5},
    "look": {"stunning": 2.0, "pretty": 1.25, "ugly": -2.0, "dull": -1.25},
    "story": {"gripping": 2.0, "clever": 1.5, "boring": -2.0, "shallow": -1.25},
    "build": {"reliable": 2.0, "sturdy": 1.5, "faulty": -2.0, "fragile": -1.25},
    "comfort": {"cosy": 1.75, "soft": 1.25, "stiff": -1.75, "hard": -1.25},
}
"""Maps each kind of aspect to the opinion words that suit it, with the value of each word in points."""
GENERAL: Mapping[str, float] = {"good": 1.0, "nice": 0.75, "bad": -1.0, "poor": -0.75}
"""Opinion words that suit every aspect, with the value of each word in points."""
TOPICS: Mapping[str, Mapping[str, str]] = {
    "hotel": {
        "room": "place", "bed": "comfort", "staff": "person",
        "breakfast": "taste", "price": "cost", "lobby": "place",
    },
    "phone": {
        "screen": "look", "battery": "build", "speaker": "sound",
        "price": "cost", "update": "speed", "case": "build",
    },
    "film": {
        "plot": "story", "music": "sound", "cast": "person",
        "ending": "story", "pace": "speed", "picture": "look",
    },
    "train": {
        "seat": "comfort", "driver": "person", "ticket": "cost",
        "cabin": "place", "arrival": "speed", "snack": "taste",
    },
}  # fmt: skip
"""Maps each topic to its aspects, with the kind of each aspect. If several topics have an aspect of the same name, this
aspect has the same kind in all of them."""
ASPECT_KINDS: Mapping[str, str] = {aspect: kind for aspects in TOPICS.values() for aspect, kind in aspects.items()}
DEGREES: Mapping[str, float] = {"": 1.0, "very": 1.5, "rather": 0.75, "slightly": 0.5}
"""Maps each degree word, which stands before an opinion word, to the factor by which it multiplies the opinion's
value."""
NEGATED = -0.5
"""The factor by which the word `not` multiplies the value of an opinion. For example, "not bad" counts as weak
praise."""
WISHES: Mapping[str, int] = {"praise": 1, "blame": -1}
JOINS = ("and", "but")


def value_opinion(aspect: str, opinion: str) -> float:
    """Returns the value in points of an opinion word about an aspect, or 0 if the word does not suit the aspect."""
    return GENERAL.get(opinion) or OPINIONS[ASPECT_KINDS[aspect]].get(opinion, 0.0)


def _collect_opinions() -> tuple[str, ...]:
    return tuple(dict.fromkeys((*GENERAL, *(word for words in OPINIONS.values() for word in words))))


OPINION_WORDS = _collect_opinions()
SENTIMENT_WORDS = tuple(
    dict.fromkeys(
        (
            *TOPICS,
            *ASPECT_KINDS,
            *OPINION_WORDS,
            *(word for word in DEGREES if word),
            *WISHES,
            *JOINS,
            "is",
            "not",
            ":",
            ";",
        )
    )
)
"""Every word that can occur in requests and answers of the testbed. White space separates words."""
