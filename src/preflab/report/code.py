"""Highlights the syntax of programs in HTML. Tokens such as keywords and strings get CSS classes."""

from __future__ import annotations

from markupsafe import Markup, escape
from pygments import lex
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Keyword, Name, Number, Operator, String
from pygments.util import ClassNotFound

from preflab import text

KINDS = {
    Keyword: "keyword",
    Operator.Word: "keyword",
    String: "string",
    Comment: "comment",
    Number: "number",
    Name.Builtin: "builtin",
    Name.Function: "builtin",
}
FENCE = "```"


def highlighted(answer: str, language: str) -> Markup:
    """Returns an answer as HTML with highlighted syntax. Hidden characters are made visible. An answer with code fences
    is highlighted as Markdown. If Pygments does not know the language, the answer is not highlighted."""
    visible = text.visible(answer)
    name = "markdown" if language and FENCE in answer else language
    try:
        lexer = get_lexer_by_name(name, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return escape(visible)
    return Markup("").join(
        Markup('<span class="{}">{}</span>').format(kind, piece) if kind else escape(piece)
        for token, piece in lex(visible, lexer)
        for kind in [next((name for parent, name in KINDS.items() if token in parent), "")]
    )
