"""What programs may import beside the standard library."""

from __future__ import annotations

import pytest

from preflab.errors import UserError
from preflab.sandbox.backends import open_backend
from preflab.sandbox.bubblewrap import Bubblewrap
from preflab.sandbox.limits import Limits
from preflab.sandbox.packages import find_distributions
from preflab.sandbox.verdict import ProgramTask, Worker
from preflab.types import Test

from .test_backends import Broken

LIMITS = Limits(cpu_s=10.0, wall_s=60.0, memory_mb=256)
FIVE = ProgramTask("stdin", [Test("", "5")], limits=LIMITS)


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np\nprint(np.arange(6).sum() // 3)",
        "import numpy as np, numpy.testing\nprint(round(float(np.linalg.det(np.diag([1.0, 5.0])))))",
        "import numpy as np\nprint(int(np.ones((200, 200)).dot(np.ones((200, 200)))[0, 0]) // 40)",
        "from sortedcontainers import SortedList\nprint(SortedList([7, 5])[0])",
    ],
)
def test_what_reference_solutions_import_is_there(source: str, worker: Worker) -> None:
    """Protects right programs of APPS, HumanEval+, LiveCodeBench and LeetCode, which import them."""
    verdict = worker.judge(source, FIVE)
    assert verdict.correct, verdict.detail


@pytest.mark.parametrize("value", ["np.int64(5)", "np.float64(5.0)", "[np.int32(5)]", "np.uint8(5)"])
def test_numbers_of_numpy_cross_as_numbers(value: str, worker: Worker) -> None:
    """Protects right functions that count with NumPy: its numbers are equal to Python's."""
    expected = [5] if value.startswith("[") else 5
    task = ProgramTask("call", [Test([], expected)], "f", LIMITS)
    assert worker.judge(f"import numpy as np\ndef f(): return {value}", task).correct
    check = ProgramTask("check", [Test(f"assert f() == {expected}", None)], limits=LIMITS, functions={"f": "f"})
    assert worker.judge(f"import numpy as np\ndef f(): return {value}", check).correct


def test_a_package_comes_with_what_it_requires() -> None:
    """Protects from an image whose package does not import: requirements of requirements come, those of an extra do not."""
    names = {each.metadata["Name"].lower() for each in find_distributions(["Jinja2"])}
    assert names == {"jinja2", "markupsafe"}


def test_packages_that_are_asked_for(walls: Bubblewrap) -> None:
    """Protects `packages`: a package of this environment is there when it is asked for, and not otherwise."""
    source = "import jinja2\nprint(jinja2.Template('{{ 2 + 3 }}').render())"
    assert Worker(walls).judge(source, FIVE).outcome == "runtime-error"
    assert Worker(open_backend("bubblewrap", ["jinja2"])).judge(source, FIVE).correct


@pytest.mark.parametrize("backend", ["bubblewrap", "bare"])
@pytest.mark.parametrize("name", ["no-such-package", "../etc", ""])
def test_a_package_that_is_not_installed(backend: str, name: str) -> None:
    """Protects the user: the name, and what to do."""
    with pytest.raises(UserError, match=r"not installed in preflab's environment: pip install"):
        open_backend(backend, [name])


def test_walls_of_your_own_say_that_they_have_no_packages() -> None:
    """Protects from packages that nobody installs."""
    with pytest.raises(UserError, match="leave `packages` out"):
        Broken().furnish(["numpy"])
