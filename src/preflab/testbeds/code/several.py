"""Decides from a problem's statement whether several answers are right, and whether upper and lower case matter.

Statements express this in many ways, so regular expressions search each sentence. Several answers count as right if at
least one of three conditions holds. First: a sentence lets the program choose the answer or the order of the answer's
parts. Second: a sentence mentions several answers, and neither this sentence nor the next sentence names the answer to
give. Third: the program must print a list without a stated order, or an object that only has to fulfil conditions. Some
statements do not reveal that several answers are right. For these problems, `preflab testbed verify` finds right
programs that give different answers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from preflab.sandbox.compare import OutputComparison

MANY = "several answers are right, and there is no judge for them"
UNSAID = "several answers are right, which the statement does not say"
_INTERACTIVE = "what is read depends on what was printed (interactive)"


def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_PRINT = r"\b(?:print|output|report|return|display)(?:ed|ted|ing|ting)?\b"
_ASK = r"\b(?:print|output|report|return|display|show|find|give|provide|write|produce|submit)\b"
_KIND = (
    r"(?:answer|solution|output|option|variant|way|possibilit|choice|order|sequence|permutation|arrangement|partition|set|subset|"
    r"path|route|cycle|array|string|pair|plan|schedule|colou?ring|assignment|matching|configuration|construction|matri|tree|graph|"
    r"vector|number|triple|strateg|method|decomposition|representation|split|subsequence|rearrangement)(?:s|es|y|ies|x|ces)?"
)
_THEM = r"(?:them|these|those)"
_ACCEPTED = r"(?:accept\w*|allow\w*|correct|right|fine|ok|okay|permitted|acceptable|enough|suffices?|sufficient)"
_JUDGE = r"(?:checker|validator|judge|grader)"
_INTERACTIVE_WORDS = _compile(r"\binteractive (?:problem|task)\b|\b(?:problem|task) is interactive\b")
_NEGATION = _compile(r"(?:\bnot|n't|\bnever|\bno|\bwithout|\bcannot)\s+(?:\w+\s+)?$")
_TOLERANCE = _compile(r"\b(?:error|tolerance|precision|relative|absolute|rounded)\b")
_HEADING = _compile(r"^\W*(input|output|examples?|sample|notes?|explanation|constraints|scoring|hints?)\b[^.]{0,20}$")

_CHOICES = tuple(
    map(
        _compile,
        (
            rf"{_ASK} (?:out )?(?:an )?(?:any(?! (?:other|extra|additional|more)\b)|arbitrary|whichever)\b",
            rf"{_ASK} (?:only |just )?(?:any )?one of {_THEM}\b",
            rf"{_PRINT} (?:some|one) (?:valid|possible|suitable|correct|optimal|acceptable|such)\b",
            r"\bwhichever (?:\w+ )?you (?:like|want|prefer|wish|choose)\b",
            rf"{_PRINT}[^,;]*\bof your (?:own )?(?:choice|choosing|liking|preference)\b",
            rf"{_PRINT} (?:just |only )?an example of\b",
            r"\b(?:choose|pick|select|take) any(?: one)? ?(?:[.,;)]|$)",
            r"\b(?:doesn't|does not|don't|do not) (?:matter|care) (?:which|what)\b[^,;]*\b(?:print|output|answer|solution)\b",
            r"\b(?:answer|solution|output)\b[^,;]*(?:\bnot|n't) (?:\w+ ){0,2}unique\b",
            rf"\bany(?: one)?(?: of {_THEM})?(?: \w+)? (?:is|are|be|will be|would be) (?:\w+ )?{_ACCEPTED}\b",
            rf"\bany (?:of the )?(?:\w+ )?(?:answer|solution|output|order|variant|option|choice)s? (?:\w+ )*?"
            rf"(?:is|are|will be|would be|gets?|can be|may be) (?:\w+ )?{_ACCEPTED}\b",
            rf"(?<!\bif )\b(?:all|each|every)(?: one)?(?: of {_THEM})? (?:is|are|will be|would be) (?:\w+ )?accept\w*",
            r"\bany (?:\w+ ){1,3}(?:will |would |can )?(?:get|earn|receive|score)s? full (?:credit|score|points|marks)\b",
            r"\bany (?:\w+ )?(?:answer|solution|output)s? (?:will |would )?pass(?:es)?\b",
            rf"\b(?:all|each|every) (?:of {_THEM} )?(?:(?:the|such|these|those|correct|valid|right|optimal|possible) )*"
            rf"(?:answer|solution|output|variant|option)s? (?:\w+ )?(?:be|is|are) (?:\w+ )?{_ACCEPTED}\b",
            rf"\b(?:accept\w*|satisf\w+|happy|content|fine|ok) (?:by|with) any\b|\b(?:accepts?|allows?) any (?:\w+ )?{_KIND}\b",
            r"\bany(?: one)?(?: of (?:them|these|those))? (?:will|would) (?:do|suffice)\b",
            rf"\b(?:special|custom) {_JUDGE}\b|\b{_JUDGE}\b[^,;]*\baccepts? (?:all|any|every|each)\b",
            rf"{_PRINT}(?:(?!\bas (?:many|much|often|long)\b)[^,;])*\b(?:as|however) you (?:like|want|prefer|wish|choose)\b",
            r"\bties?\b.*\b(?:at random|randomly|arbitrar\w+|(?:as|however|any way) you)\b",
        ),
    )
)
"""Patterns for sentences that let the program choose any right answer."""
_ORDERLESS = _compile(
    r"\bin (?:any|an arbitrary|arbitrary|a random|random|no particular|whatever|whichever)(?: \w+)? (?:order|sequence(?! of))\b"
    r"|\border\b[^,;]{0,60}(?:\bnot|n't) (?:matter|important|relevant|significant|specified)"
    r"|\border\b[^,;]{0,60}\b(?:is|are|can be|may be) (?:arbitrary|irrelevant|unimportant|insignificant|any|free)\b"
    r"|\border\b[^,;]{0,60}\bis (?:up|left) to you\b"
    r"|\b(?:regardless|irrespective) of (?:the |their )?order\b"
    r"|\bno (?:requirement|restriction|constraint|condition|limit)s?\b[^,;]{0,60}\border\b"
)
_OF_OUTPUT = _compile(rf"{_PRINT}|\b(?:answer|output|response|checker|verdict)s?\b")
_OF_ACTIONS = _compile(r"\bby \w+ing\b|\b(?:formed|obtained|perform\w*|applied)\b|\bwhen counting\b|\bcounted\b")
_OF_INPUT = _compile(r"\b(?:given|input)\b|\b(?:is|are|were) (?:numbered|labell?ed|indexed)\b")
_FINDS = _compile(r"find\b")
_PRINTS_RESULT = _compile(
    rf"{_PRINT} (?:only |just )?(?:the|its|their) (?:\w+ )?"
    r"(?:sum|number|count|length|size|total|cost|value|area|probability|product|weight)(?: of|\W*$)"
)
"""Matches a request to print only a result, such as a sum. The result is the same for every object that the program
can find."""
_POSSIBLE = _compile(
    r"\b(?:multiple|several|many|various) (?:\w+ )?(?:answers?|solutions?|outputs?) (?:are|is|may be|can be) (?:\w+ )?"
    rf"(?:possible|valid|{_ACCEPTED})\b|{_PRINT} (?:(?:should|must) (?:contain|be|have) )?such an? {_KIND}\b"
)
"""Matches a sentence that mentions several possible answers. Such a sentence allows all these answers, except if this
sentence or the next sentence names the answer to give."""
_SEVERAL = _compile(
    r"\b(?:if|in case|when|should|where|since|as|there (?:can|may|might|could) be)\b.*"
    rf"\b(?:several|multiple|many|various|two or more|more than one|more)\b(?: \w+){{0,3}}? (?:{_KIND}|such|{_THEM})\b"
)
_LEFT_OPEN = _compile(
    rf"\b(?:any|whichever|arbitrary|either)\b|{_ASK} (?:only |just )?(?:one|some)\b(?! (?:line|integer|number|word|string))"
    r"|\b(?:only|just) one\b.*\b(?:required|needed|asked|expected|necessary)\b"
)
_TIE_BREAK = _compile(
    r"lexicographic|alphabetic|\b(?:smallest|minimal|minimum|least|lowest|largest|maximal|maximum|greatest|biggest|highest|first|"
    r"last|earliest|latest|leftmost|rightmost|shortest|longest|nearest|closest|unique|sorted)\b"
)
_COUNT = _compile(r"\b(?:number|amount|count|quantity|length|size) of\b|\bhow many\b")
_LIST = _compile(
    r"\b(?:then|next|following|second|after that|each of|remaining|subsequent)\b.*"
    r"\b(?:lines?|print|output|numbers?|integers?|indices|indexes)\b"
)
_ONE_RIGHT = _compile(
    r"lexicographic|alphabetic|\buniquely\b|\b(?:unique|only one|exactly one) (?:\w+ )?(?:solution|answer|way)\b"
    r"|\b(?:solution|answer|way) is unique|\bsort(?:ed|ing)?\b|\b(?:increasing|ascending|decreasing|descending)\b"
)
"""Matches words that single out one answer. The search for such words covers all sentences of a statement."""
_ORDER = _compile(r"\border\b")
_THING = _compile(
    r"\b(?:path|route|cycle|permutation|arrangement|pairing|partition|colou?ring|labels?|colou?rs|coordinates|vertices|vertexes|"
    r"nodes|edges?|indices|indexes|schedule|plan|moves|operations?|swaps?|matrix|construction|configuration|assignment|matching|"
    r"pairs?|them|[a-z] and [a-z])\b"
)
_PRINTS_PARTS = _compile(rf"{_PRINT} (?:its|their|them|[a-z] and [a-z])\b")
"""Matches a request to print an object by its parts. The search covers only the sentences of the problem's
description."""
_FOLLOWS = _compile(
    r"\b(?:number|amount|count|sum|length|size|total|probability|cost|value|area|minimum|maximum|minimal|maximal|expected|"
    r"distance|resulting|final|remaining|after|answers?|how many|whether) (?!on\b|written|assigned)"
)
"""Matches words for a result that follows from the input and therefore has only one value."""
_REQUEST = _compile(
    r"\b(?:find|construct|build|make|create|restore|recover|reconstruct|generate|design|draw|propose|suggest|invent|"
    r"come up with|locate|write|assign|label|colou?r|paint|arrange|place|split|divide|distribute|partition) (?:\w+ ){0,3}?"
    r"(?:an?|some|any|such|labels?|colou?rs?|numbers?)\b|\bpossible to \w+"
)
_CONDITIONS = _compile(
    r"\b(?:such that|so that|whose|satisf\w+|conditions?|such a way|consisting of|valid|(?:in which|of) at (?:least|most)|"
    r"as possible)\b"
)
_CASE = r"(?:case|casing|register|capitali[sz]ation)\b"
_EITHER_OF = r"\b(?:in|be|either|both|combination of|mix of|mixture of)"
_EITHER_CASE = _compile(
    rf"\b(?<!^in )(?:any|either|arbitrary|whatever|whichever|mixed|random) (?:\w+ ){{0,2}}{_CASE}"
    r"|\bcase[- ]?insensitiv|\binsensitive to (?:the )?case\b"
    rf"|{_EITHER_OF} (?:upper|lower)(?:[- ]?case|-)? (?:or|and) (?:in )?(?:upper|lower)"
    rf"|{_EITHER_OF} (?:capitals?|small)(?: letters?)? (?:or|and) (?:in )?(?:capital|small)"
    r"|\b(?:not|n't) case[- ]?sensitive\b"
    rf"|\b{_CASE}[^,;]{{0,40}}(?:\bnot|n't) (?:matter|important|relevant|significant|considered|checked)"
    r"|\bupper(?:[- ]?case)? (?:and|or) lower(?:[- ]?case)?(?: \w+)? (?:is|are|will be) (?:\w+ )?"
    r"(?:alike|the same|equal\w*|equivalent|not distinguished)\b"
    rf"|\b{_CASE} (?:is|are|will be) (?:ignored|irrelevant|disregarded)\b"
    rf"|\b(?:ignor\w+|regardless of|irrespective of|independent of|disregard\w*|without regard to) (?:the )?(?:letter )?{_CASE}"
)
_DIFFERENT = _compile(r"\b(?:differ\w*|distinct|distinguish\w*)\b|(?<!not )\bcase[- ]?sensitive\b")
_QUOTED = re.compile(r"[\"'“‘`]+(\w+)[\"'”’`]+")


def explain_several(statement: str) -> str:
    """Returns the reason why answers to a problem cannot be judged by the single expected output of each test. Returns
    '' if there is no such reason."""
    if _INTERACTIVE_WORDS.search(statement):
        return _INTERACTIVE
    story, output = _split_statement(statement)
    sentences = [*story, *output]
    said = any(map(_leaves_a_choice, sentences)) or any(_leaves_the_order(each, each in output) for each in sentences)
    if said or any(_names_several(one, other) for one, other in pairwise([*sentences, ""])):
        return MANY
    return UNSAID if _lists_without_order(sentences) or _asks_for_a_thing(story, output) else ""


def choose_comparison(statement: str) -> OutputComparison:
    """Returns how a program's output is compared: `caseless` if the statement allows both upper and lower case, and
    `tokens` otherwise."""
    story, output = _split_statement(statement)
    of_output = [*output, *(each for each in story if _OF_OUTPUT.search(each))]
    return "caseless" if any(map(_takes_either_case, of_output)) else "tokens"


def _split_statement(statement: str) -> tuple[list[str], list[str]]:
    """Returns two lists: the sentences of the problem's description, and the sentences about the output. Leaves out the
    sections about the input, and the examples."""
    sections: dict[str, list[str]] = {"story": []}
    name = "story"
    for line in statement.splitlines():
        heading = _HEADING.match(line.strip())
        name = heading[1].lower() if heading else name
        sections.setdefault(name, []).append("" if heading else line.strip())
    return _split_sentences(sections["story"]), _split_sentences(sections.get("output", []))


def _split_sentences(lines: Sequence[str]) -> list[str]:
    paragraphs = re.split(r"\n\s*\n", "\n".join(lines))
    return [each for text in paragraphs for each in re.split(r"(?<=[.!?;])\s+", " ".join(text.split())) if each]


def _leaves_a_choice(sentence: str) -> bool:
    if _TOLERANCE.search(sentence):
        return False
    matches = (match for pattern in _CHOICES for match in pattern.finditer(sentence))
    return any(not _NEGATION.search(sentence[: match.start()]) and not _is_only_found(match) for match in matches)


def _is_only_found(choice: re.Match[str]) -> bool:
    """Checks whether a sentence of the statement lets the program choose one of several suitable objects, but asks only
    for a result that is the same for all these objects. Such a choice does not change the output. `choice`: the match
    of a pattern in `_CHOICES`."""
    return bool(_FINDS.match(choice[0]) and _PRINTS_RESULT.search(choice.string, choice.end()))


def _leaves_the_order(sentence: str, of_output: bool) -> bool:
    named = of_output or _OF_OUTPUT.search(sentence)
    printed = re.search(_PRINT, sentence, re.IGNORECASE) or (named and not _OF_INPUT.search(sentence))
    return bool(printed and _ORDERLESS.search(sentence) and not _OF_ACTIONS.search(sentence))


def _names_several(sentence: str, following: str) -> bool:
    both = f"{sentence} {following}"
    open_choice = _POSSIBLE.search(sentence) or (_SEVERAL.search(sentence) and _LEFT_OPEN.search(both))
    return bool(open_choice and not _TIE_BREAK.search(both))


def _lists_without_order(sentences: Sequence[str]) -> bool:
    """Checks whether the program must print a count and then the counted objects, but no sentence states the order of
    these objects."""
    counts = [number for number, each in enumerate(sentences) if _COUNT.search(each) and _OF_OUTPUT.search(each)]
    listed = any(
        _LIST.search(each) and _THING.search(each) for number in counts for each in sentences[number : number + 3]
    )
    return listed and not any(_ONE_RIGHT.search(each) or _ORDER.search(each) for each in sentences)


def _asks_for_a_thing(story: Sequence[str], output: Sequence[str]) -> bool:
    """Checks whether the program must print an object that only has to fulfil conditions. The result is false if the
    object follows from the input, or if the statement singles out one answer."""
    of_output = [*output, *filter(_PRINTS_PARTS.match, story)]
    printed = any(_THING.search(each) and not _FOLLOWS.search(each) for each in of_output)
    requested = any(_REQUEST.search(each) and _CONDITIONS.search(each) for each in [*story, *output])
    return printed and requested and not any(map(_ONE_RIGHT.search, [*story, *output]))


def _takes_either_case(sentence: str) -> bool:
    """Checks whether a sentence allows both upper and lower case. A sentence allows both cases if it states this, or if
    it quotes one word in several spellings ("YES", "Yes")."""
    quoted = set(_QUOTED.findall(sentence))
    varied = len({word.casefold() for word in quoted}) < len(quoted) and not _DIFFERENT.search(sentence)
    return bool(_EITHER_CASE.search(sentence)) or varied
