"""Makes a chat template write a fixed date, so that a trained model gets the same prompts on any later day."""

from __future__ import annotations

import string
from datetime import UTC, datetime
from functools import lru_cache
from itertools import product

CLOCK = "strftime_now"
"""The name of the function by which a template reads the date."""
_FLAGS = ("", "-", "_", "0", "^", "#", "E", "O")
"""The flags that may stand between the percent sign and the letter of a directive."""
_MACRO = (
    "{% macro {clock}(format) %}{% set texts = {texts} %}"
    "{% for part in format.replace('%%', '\\x00').split('%') %}{% set part = part.replace('\\x00', '%') %}"
    "{% if loop.first %}{{ part }}"
    "{% elif part[:1] in texts %}{{ texts[part[:1]] ~ part[1:] }}"
    "{% elif part[:2] in texts %}{{ texts[part[:2]] ~ part[2:] }}"
    "{% else %}{{ raise_exception('it writes the date by %' ~ part[:2] ~ ', and no date is known for that') }}"
    "{% endif %}{% endfor %}{% endmacro %}{{ '' }}"
)
"""The macro that replaces the clock function. The macro contains a table of texts, because a template may not call a
function that is passed to the template."""


@lru_cache(maxsize=8)
def pin_date(template: str, date: str) -> str:
    """Returns the template with a macro in place of its clock function. The macro always writes `date` (ISO), at
    midnight. The template fails if it asks for a part of the date that `strftime` does not know."""
    texts = _list_texts(datetime.fromisoformat(date))
    return _MACRO.replace("{clock}", CLOCK).replace("{texts}", repr(texts)) + template


def _list_texts(day: datetime) -> dict[str, str]:
    """Returns a dictionary from directives, without their percent sign, to the texts that `strftime` writes for them.
    Directives that `strftime` does not know are left out. The seconds since 1970 are those of midnight in UTC, because
    the machine's time zone is not part of the date."""
    letters = string.ascii_letters.replace("s", "")
    texts = {flag + letter: day.strftime(f"%{flag}{letter}") for flag, letter in product(_FLAGS, letters)}
    known = {name: text for name, text in texts.items() if text not in (name, f"%{name}")}
    return known | {"s": str(int(day.replace(tzinfo=UTC).timestamp()))}
