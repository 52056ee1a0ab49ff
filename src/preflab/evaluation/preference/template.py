"""Reads the template of a judge's question, and fills it with a prompt and two fenced answers. Does not import torch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import count

from preflab.errors import UserError
from preflab.evaluation.preference.orders import ShownPair
from preflab.paths import user_path
from preflab.plain import decode_text
from preflab.types import Turn

SENTENCE_TEMPLATE = "helpful"
"""The name of the built-in template with the question from the paper. The judge first writes a sentence that compares
the answers, and then the letter."""
LETTER_TEMPLATE = "helpful-letter"
"""The name of the built-in template with the same question, to which the judge answers with the letter alone."""
BUILT_IN = (SENTENCE_TEMPLATE, LETTER_TEMPLATE)
NEEDED = ("query", "response_a", "response_b")
_PLACE = re.compile(r"\{\{(\w+)\}\}")
_SPEAKERS = {"system": "System", "user": "Human", "assistant": "Assistant"}


@dataclass(frozen=True)
class Template:
    """The text of a question. It has the placeholders {{query}}, {{response_a}} and {{response_b}} once each, and
    {{fence}} any number of times. {{fence}} is replaced by the fence, a word that does not occur in the texts that
    replace the other placeholders. Each of these texts is put between two lines that begin with the fence."""

    text: str

    def fill(self, pair: ShownPair) -> str:
        """Fills the template with a pair, and returns the question. The texts are marked by a fence: a word that none
        of the texts contains, so that a text cannot imitate the end of its own fence. The word is computed from all
        texts of the question."""
        query, (first, second) = write_query(pair.question.prompt.turns), pair.shown
        texts = {"query": query, "response_a": first, "response_b": second}
        fence = make_fence(tuple(texts.values()))
        fenced = {name: f"{fence} begins\n{text}\n{fence} ends" for name, text in texts.items()} | {"fence": fence}
        return _PLACE.sub(lambda place: fenced[place[1]], self.text)


def make_fence(texts: Sequence[str]) -> str:
    """Returns a word that none of the texts contains. The same texts always give the same word."""
    for number in count():
        content = "\0".join([str(number), *texts]).encode("utf-8", "surrogatepass")
        fence = f"====={hashlib.sha256(content).hexdigest()[:12]}"
        if not any(fence in text for text in texts):
            return fence
    raise AssertionError("count() has no end")


def write_query(turns: Sequence[Turn]) -> str:
    """Returns a prompt as text. If the prompt has several turns, the text names the speaker of each turn."""
    if len(turns) == 1:
        return turns[0].content
    return "\n\n".join(f"{_SPEAKERS[turn.role]}: {turn.content}" for turn in turns)


def read_template(name: str) -> Template:
    """Returns the built-in template with this name, or the template in the file at this path. Raises `UserError` if
    there is no such file, or if a placeholder is missing or unknown."""
    if name in BUILT_IN:
        folder = files("preflab.evaluation.preference").joinpath("templates")
        return Template(folder.joinpath(f"{name}.txt").read_text(encoding="utf-8").strip())
    path = user_path(name)
    try:
        text = decode_text(path.read_bytes(), f"The template {path} cannot be read")
    except OSError as error:
        known = ", ".join(BUILT_IN)
        raise UserError(
            f"The template {path} cannot be read: {error.strerror}. Name a text file, or one of {known}."
        ) from error
    places = _PLACE.findall(text)
    for place in NEEDED:
        if places.count(place) != 1:
            raise UserError(
                f"The template {path} has {{{{{place}}}}} {places.count(place)} times. Each of {{{{query}}}}, "
                "{{response_a}} and {{response_b}} must occur exactly once."
            )
    unknown = next((place for place in places if place not in (*NEEDED, "fence")), None)
    if unknown is not None:
        raise UserError(
            f"The template {path} has an unknown placeholder {{{{{unknown}}}}}. Known: {', '.join(NEEDED)}, fence."
        )
    return Template(text.strip())
