"""The walls, opened once, and a short way to run a program between them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import NamedTuple

import pytest
from tests.conftest import require_feature

from preflab.sandbox.bubblewrap import Bubblewrap, explain_absence
from preflab.sandbox.groups import ControlGroup, make_group
from preflab.sandbox.limits import Limits
from preflab.sandbox.process import open_box
from preflab.sandbox.verdict import Worker
from preflab.sandbox.walls import RUN_SCRIPT

QUICK = Limits(cpu_s=2.0, wall_s=6.0, memory_mb=256)


class Ran(NamedTuple):
    over: str
    code: int | None
    output: str
    errors: str


@pytest.fixture(scope="session")
def walls() -> Bubblewrap:
    require_feature("sandbox", not explain_absence(), explain_absence())
    return Bubblewrap()


@pytest.fixture(params=["group", "tree"])
def group(request: pytest.FixtureRequest) -> Generator[ControlGroup | None]:
    """Both ways of measuring, where there are both."""
    if request.param == "tree":
        yield None
        return
    made = make_group()
    if made is None:
        pytest.skip("needs root and control groups")
    yield made
    made.close()


@pytest.fixture
def run(walls: Bubblewrap, group: ControlGroup | None) -> Callable[..., Ran]:
    """`run(source, stdin, limits)`: the program from start to end."""

    def run(source: str, stdin: str = "", limits: Limits = QUICK) -> Ran:
        with open_box(walls, RUN_SCRIPT, source.encode(), limits, group=group, stdin=stdin.encode()) as box:
            box.finish()
        return Ran(box.over, box.code, box.output.decode(errors="replace"), box.errors.decode(errors="replace"))

    return run


@pytest.fixture(scope="session")
def worker(walls: Bubblewrap) -> Worker:
    return Worker(walls)
