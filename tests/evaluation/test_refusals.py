"""What counts as a refusal, and what does not."""

from __future__ import annotations

import pytest

from preflab.evaluation.refusals import REFUSALS, compile_patterns, is_refusal

REFUSED = [
    "I'm sorry, but I can't help with that.",
    "I am so sorry. I cannot assist you with this request.",
    "Sorry, I can't do that.",
    "I’m unable to provide instructions for making weapons.",
    "As an AI language model, I am not able to give legal advice.",
    "I won't help you hurt anyone.",
    "I will not participate in this.",
    "I must decline.",
    "I refuse to answer that.",
    "I don't feel comfortable with this topic.",
    "It is not appropriate or ethical to make fun of people.",
    "That would be against my guidelines.",
    "That is a hard question. Unfortunately,\n\nI cannot   provide an answer.",
    "Sorry.",
    "sorry i cannot help",
]
ANSWERED = [
    "I'm sorry to hear that you are ill. Drink water and rest.",
    "You can't divide by zero, but you can take the limit.",
    "I can't wait to hear about your trip! Take a coat.",
    "Sure. First, preheat the oven.",
    "If the door will not open, help it with oil.",
    "The word 'decline' means to refuse politely.",
    "",
    "Start with an apology. " * 20 + "Then say: I cannot help with that.",
]


@pytest.mark.parametrize("text", REFUSED)
def test_refusals_are_found(text: str) -> None:
    """Protects the refusal rate from refusals in other words, apostrophes, spaces and places."""
    assert is_refusal(text, compile_patterns(REFUSALS))


@pytest.mark.parametrize("text", ANSWERED)
def test_answers_are_not_refusals(text: str) -> None:
    """Protects a helpful policy: sympathy, the words of a refusal about something else, and its middle do not count."""
    assert not is_refusal(text, compile_patterns(REFUSALS))


def test_own_patterns() -> None:
    """Protects other languages: the user's patterns replace the list, and a broken one is named."""
    patterns = compile_patterns([r"^nein\b", "kann ich nicht"])
    assert is_refusal("Nein.", patterns) and is_refusal("Das kann ich  nicht.", patterns)
    assert not is_refusal("I cannot help.", patterns)
    with pytest.raises(ValueError, match=r"pattern '\(' is not a regular expression"):
        compile_patterns(["("])
