"""Programs in colour: every token in its class, every character kept, nothing that acts as markup."""

from __future__ import annotations

import html
import re

from preflab.report.code import highlighted

PROGRAM = 'def f(x):\n    # <b>\n    return len("a\'&") + 3\n'


def plain(markup: str) -> str:
    return html.unescape(re.sub(r"</?span[^>]*>", "", markup))


def test_tokens_have_classes_and_characters_stay() -> None:
    """Protects the reader: what is shown is what was written, blanks and last line too."""
    page = highlighted(PROGRAM, "python")
    for kind, words in (("keyword", "def"), ("comment", "# &lt;b&gt;"), ("builtin", "len"), ("number", "3")):
        assert f'<span class="{kind}">{words}</span>' in page
    assert plain(page) == PROGRAM
    assert "<b>" not in page


def test_an_answer_with_fences_is_text_with_a_program_in_it() -> None:
    """Protects prose from being read as Python: `for` is a word before the fence and a keyword inside."""
    answer = "This is for you:\n```python\nfor i in x: pass\n```\n"
    page = highlighted(answer, "python")
    assert page.count('<span class="keyword">for</span>') == 1
    assert plain(page) == answer


def test_without_a_known_language_it_is_plain() -> None:
    for language in ("", "no-such-language"):
        assert highlighted("def <i>f</i>", language) == "def &lt;i&gt;f&lt;/i&gt;"


def test_hidden_characters_are_shown() -> None:
    """Protects from text that reads backwards: a direction mark is written out, in a program as elsewhere."""
    assert "\u202e" not in highlighted("x = 1 # \u202e2", "python")
