"""Makes a contest from plain settings, such as the names on a command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from preflab.arm.open import pick_device
from preflab.contest.contestant import parse_contestants
from preflab.contest.settings import Contest
from preflab.evaluation.preference.spec import JudgeSettings
from preflab.sampling.base import Decoding
from preflab.spec import parse_spec
from preflab.testbeds import TESTBEDS


def make_contest(
    contestants: Sequence[str], testbed: Any, judge: Any, decoding: dict[str, Any] | None, device: str
) -> Contest:
    """Parses the settings and returns a contest. Raises `UserError` if a setting is invalid."""
    settings = judge if isinstance(judge, Mapping | JudgeSettings) else {"judge": judge}
    return Contest(
        contestants=parse_contestants(contestants),
        testbed=TESTBEDS.parse(testbed),
        judge=parse_spec(JudgeSettings, settings, where="judge"),
        decoding=parse_spec(Decoding, decoding or {}, where="decoding"),
        device=pick_device(device),
    )
