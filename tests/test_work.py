"""Who follows a long piece of work is told how much of it is done."""

from __future__ import annotations

from preflab.work import followed_by, report_each, report_work


def test_the_innermost_follower_is_told() -> None:
    """Protects the line of a measurement from the work of another one: outside the context nobody is told."""
    told: list[tuple[str, float]] = []
    report_work("drawn", 0.5)
    with followed_by(lambda what, share: told.append((what, share))):
        assert [*report_each("judged", "abcd", 4)] == [*"abcd"]
    report_work("drawn", 1.0)
    assert told == [("judged", share) for share in (0.25, 0.5, 0.75, 1.0)]
