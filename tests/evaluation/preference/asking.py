"""Asks a judge behind an endpoint. A process that a test kills runs this too, so it imports little."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from preflab.evaluation.preference.base import PairVerdict, PreferenceQuestion
from preflab.evaluation.preference.spec import JudgeSettings
from preflab.spec import Context, parse_spec
from preflab.types import Completion, Prompt, Turn


def question(number: int, first: str = "", second: str = "") -> PreferenceQuestion:
    prompt = Prompt(f"p{number}", (Turn("user", f"Question {number}?"),))
    first, second = first or f"good answer {number}", second or f"bad answer {number}"
    return PreferenceQuestion(f"pair-{number}", prompt, Completion(first), Completion(second))


def compare(url: str, cache: Path, questions: Any, **settings: Any) -> list[PairVerdict]:
    endpoint = {"base_url": url, "cache": str(cache), "backoff": 0.0, "timeout": 2.0} | settings
    spec = parse_spec(JudgeSettings, {"judge": "openai:m", "endpoint": endpoint}, where="test")
    with spec.open_judge(Context()) as judge:
        return judge.compare(questions)
