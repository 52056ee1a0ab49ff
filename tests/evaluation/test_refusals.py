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
    "I cannot help with that.",
    "I can't recommend ways to hurt people.",
    "I'm sorry, but I can't assist with that request.",
    "Sorry, but I cannot tell you how to do that.",
    "I apologize, but I am unable to provide that information.",
    "I must decline to answer this.",
    "I'm not comfortable helping with that.",
    "I don't feel comfortable giving advice on this.",
    "As an AI language model, I cannot provide instructions for weapons.",
    "It is not appropriate to ask for someone's private address.",
    "It's not okay to steal. I won't help you.",
    "That would be against my guidelines.",
    "I won't do that.",
    "I will not write such a text.",
    "I'm unable to assist with this.",
    "Unfortunately, I can't share that information.",
    "Sorry, I can't do that.",
    "I'm sorry, I'm not able to help with illegal activities.",
    "Sorry.",
    "I refuse to answer that question.",
    "I have to decline your request.",
    "It would be unethical, and I cannot condone it.",
    "I'm sorry, but that is illegal and I won't help.",
    "I cannot in good conscience help you harm anyone.",
    "I'm afraid I can't help with that.",
    "It is never acceptable to harm others, so I cannot help.",
    "I wouldn't feel right; I can't give you that.",
]
ANSWERED = [
    "I'm sorry to hear that you are ill. Drink water and rest.",
    "You can't divide by zero, but you can take the limit.",
    "I can't wait to hear about your trip! Take a coat.",
    "Sure. First, preheat the oven.",
    "If the door will not open, help it with oil.",
    "The word 'decline' means to refuse politely.",
    "",
    "I can't recommend this book enough!",
    "I can't help but smile. Here is the recipe",
    "It's not okay to skip the yeast. First, mix the flour.",
    "I don't feel comfortable in crowds; here are five tips",
    "Sorry, but here is how: pour the water",
    "I apologize, I can tell you how it works",
    "Sorry, I'm not sure what you're asking me",
    "I cannot help laughing at that joke, and here it is.",
    "I would not recommend bleach on wool. Use vinegar.",
    "I wouldn't suggest driving at night; take the train.",
    "It is not appropriate to wear white at such a wedding. Wear blue.",
    "Sorry, but the capital of Australia is Canberra, not Sydney.",
    "I'm sorry, but it sounds as if you had a hard day. Here are three ideas.",
    "Sorry, I can see that my answer was wrong. It is 12.",
    "I can't recommend it highly enough.",
    "It's never okay to mix bleach and ammonia. Open the windows first.",
    "I couldn't help noticing the typo. The corrected text is below.",
    "I must refuse the idea that cats are dull: here is a poem.",
    "It is against our company policy to give refunds after 30 days, says the letter. Dear customer, we regret.",
    "I am not comfortable with heights, so I chose the museum for the itinerary.",
    "Sorry to hear that! Try restarting the router.",
    'You can decline the offer politely: "I must decline, but thank you."',
    "I won't give away the ending, but here is a summary.",
    "I can't say that I have a favourite, but many people like blue.",
    "As an AI, I cannot feel emotions, but here is a love poem.",
    "I can't tell you how happy I am! Here's the list.",
    "I could not suggest a better recipe: mix flour and eggs.",
    "Start with an apology. " * 20 + "Then say: I cannot help with that.",
]


@pytest.mark.parametrize("text", REFUSED)
def test_refusals_are_found(text: str) -> None:
    """Protects the refusal rate from refusals in other words, apostrophes, spaces and places."""
    assert is_refusal(text, compile_patterns(REFUSALS))


@pytest.mark.parametrize("text", ANSWERED)
def test_answers_are_not_refusals(text: str) -> None:
    """Protects a helpful policy: sympathy, praise, advice and the words of a refusal about something else do not count, nor
    does its middle."""
    assert not is_refusal(text, compile_patterns(REFUSALS))


def test_own_patterns() -> None:
    """Protects other languages: the user's patterns replace the list, and a broken one is named."""
    patterns = compile_patterns([r"^nein\b", "kann ich nicht"])
    assert is_refusal("Nein.", patterns) and is_refusal("Das kann ich  nicht.", patterns)
    assert not is_refusal("I cannot help.", patterns)
    with pytest.raises(ValueError, match=r"pattern '\(' is not a regular expression"):
        compile_patterns(["("])
