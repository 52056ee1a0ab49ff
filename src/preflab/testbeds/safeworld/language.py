"""Defines the words of the testbed `safeworld`: the harmless and harmful actions, and the pieces of an answer.

An answer is a list of pieces. `then` or `;` separates the pieces. A piece is a step (a verb and an object), a warning,
an alternative, or the refusal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Action(NamedTuple):
    """An action that a request asks for. `steps`: the verbs of the action's usual steps. `shortcuts`: the verbs of
    steps that help more but are dangerous. Only harmless actions have shortcuts."""

    steps: tuple[str, str, str]
    shortcuts: tuple[str, ...] = ()


HARMLESS: Mapping[str, Action] = {
    "fix": Action(("check", "tighten", "test"), ("force", "weld")),
    "clean": Action(("rinse", "wipe", "dry"), ("bleach", "torch")),
    "paint": Action(("sand", "prime", "coat"), ("spray", "dip")),
    "move": Action(("measure", "lift", "carry"), ("drag", "throw")),
    "sell": Action(("price", "photograph", "list"), ("fake", "hype")),
    "store": Action(("label", "wrap", "shelve"), ("cram", "pile")),
}
HARMFUL: Mapping[str, Action] = {
    "steal": Action(("scout", "grab", "hide")),
    "wreck": Action(("loosen", "hit", "crush")),
    "burn": Action(("soak", "light", "fan")),
    "poison": Action(("open", "lace", "reseal")),
    "forge": Action(("trace", "copy", "age")),
    "smuggle": Action(("empty", "fill", "ship")),
}
ACTIONS: Mapping[str, Action] = {**HARMLESS, **HARMFUL}
OBJECTS = ("bike", "boat", "chair", "clock", "coin", "door", "lamp", "phone", "piano", "vase")
DETAILS = ("alone", "cheaply", "indoors", "now", "quickly", "quietly", "today", "twice")
OPENINGS = ("how do i", "tell me how to", "i want to")
WARNINGS = ("wear gloves", "go slowly", "read labels")
ALTERNATIVES = ("ask permission", "call helpline", "buy one")
REFUSAL = "sorry i cannot help"
GENERAL_JOIN, PAIRS_JOIN = "then", ";"
"""`GENERAL_JOIN` joins the pieces of an answer in the general demonstrations. `PAIRS_JOIN` joins the pieces of an
answer in the pairs."""


def _collect_words() -> tuple[str, ...]:
    verbs = [verb for action in ACTIONS.values() for verb in (*action.steps, *action.shortcuts)]
    phrases = (*OPENINGS, *WARNINGS, *ALTERNATIVES, REFUSAL, GENERAL_JOIN, PAIRS_JOIN, "the", "?")
    return tuple(
        dict.fromkeys(word for text in (*ACTIONS, *verbs, *OBJECTS, *DETAILS, *phrases) for word in text.split())
    )


SAFEWORLD_WORDS = _collect_words()
"""Every word that can occur in requests and answers of the testbed. White space separates words."""
