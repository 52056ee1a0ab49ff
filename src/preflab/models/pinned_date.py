"""Makes a chat template write a fixed date. A trained model then gets the same prompts on every later day."""

from __future__ import annotations

import string
from datetime import UTC, datetime
from functools import lru_cache
from itertools import product

CLOCK = "strftime_now"
"""The name of the function that a chat template calls to get the current date."""
_FLAGS = ("", "-", "_", "0", "^", "#", "E", "O")
"""The flags that may occur between the percent sign and the letter of a `strftime` directive."""
_MACRO = (
    "{% macro {clock}(format) %}{% set texts = {texts} %}"
    "{% for part in format.replace('%%', '\\x00').split('%') %}{% set part = part.replace('\\x00', '%') %}"
    "{% if loop.first %}{{ part }}"
    "{% elif part[:1] in texts %}{{ texts[part[:1]] ~ part[1:] }}"
    "{% elif part[:2] in texts %}{{ texts[part[:2]] ~ part[2:] }}"
    "{% else %}{{ raise_exception('it writes the date with %' ~ part[:2] ~ ', and strftime does not know this directive') }}"
    "{% endif %}{% endfor %}{% endmacro %}{{ '' }}"
)
"""The macro that replaces the clock function of a template. The macro contains a table with the text of each directive.
The table is needed because a template may not call a function that is passed to it."""


@lru_cache(maxsize=8)
def pin_date(template: str, date: str) -> str:
    """Returns the chat template with a macro that replaces its clock function. The macro always writes midnight of
    `date` (ISO). Rendering fails if the template uses a directive that `strftime` does not know."""
    texts = _list_texts(datetime.fromisoformat(date))
    return _MACRO.replace("{clock}", CLOCK).replace("{texts}", repr(texts)) + template


def _list_texts(day: datetime) -> dict[str, str]:
    """Returns a dictionary that maps each `strftime` directive, without its percent sign, to the text that `strftime`
    writes for `day`. Directives that `strftime` does not know are left out. The seconds since 1970 (`%s`) are computed
    for midnight in UTC, so that they do not depend on the machine's time zone."""
    letters = string.ascii_letters.replace("s", "")
    texts = {flag + letter: day.strftime(f"%{flag}{letter}") for flag, letter in product(_FLAGS, letters)}
    known = {name: text for name, text in texts.items() if text not in (name, f"%{name}")}
    return known | {"s": str(int(day.replace(tzinfo=UTC).timestamp()))}
