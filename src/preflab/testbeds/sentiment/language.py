"""Defines the words of the testbed `sentiment`: topics, the aspects of each topic, and the opinions that suit each
aspect."""

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
"""For each kind of aspect, the opinions that suit it and their values in points."""
GENERAL: Mapping[str, float] = {"good": 1.0, "nice": 0.75, "bad": -1.0, "poor": -0.75}
"""Opinions that suit every aspect."""
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
"""For each topic, its aspects and their kinds. An aspect of several topics has the same kind in all of them."""
ASPECT_KINDS: Mapping[str, str] = {aspect: kind for aspects in TOPICS.values() for aspect, kind in aspects.items()}
DEGREES: Mapping[str, float] = {"": 1.0, "very": 1.5, "rather": 0.75, "slightly": 0.5}
"""Words before an opinion, and the factors by which they multiply its value."""
NEGATED = -0.5
"""The factor of `not`: "not bad" is faint praise."""
WISHES: Mapping[str, int] = {"praise": 1, "blame": -1}
JOINS = ("and", "but")


def value_opinion(aspect: str, opinion: str) -> float:
    """Returns the value of an opinion about an aspect, or 0 if the opinion does not suit the aspect."""
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
"""Every word that requests and answers of the testbed may contain; white space separates words."""
