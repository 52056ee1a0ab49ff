"""Final answers: where they stand in a solution, and which are right."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest

from preflab.testbeds.math.final import drop_calculations, find_final_answer, find_right_answer
from preflab.testbeds.math.verifier import Verifier, open_verifier

SOLUTIONS = [
    ("so 17 + 25 = <<17+25=42>>42.\n#### 42", "42"),
    ("#### 1,000", "1,000"),
    (r"First \boxed{3}, no: \boxed{\frac{1}{2}}, done.", r"\frac{1}{2}"),
    (r"#### 5 and later \boxed{6}", "6"),
    (r"\boxed{5}" + "\n#### 6", "6"),
    (r"\boxed 7", "7"),
    (r"\boxed{\text{a}_{\{1\}}}", r"\text{a}_{\{1\}}"),
    (r"The answer is 3, so \boxed{4", "3"),
    (r"cut off at \boxed{4", None),
    ("The answer is 42.", "42"),
    ("The final answer is $\\frac{1}{2}$. I am sure.", r"\frac{1}{2}"),
    ("**Answer:** 42", "42"),
    ("Answer = 3.5\nThat is all", "3.5"),
    ("answer: \\(x=3\\)", "x=3"),
    ("The answer is 1.\nNo, the answer is 2.", "2"),
    ("The answer to this is not clear", None),
    ("I get 7 apples.", None),
    ("#### ", None),
    (r"\boxed{}", None),
    ("", None),
]
PAIRS = [  # right answer, given answer, whether it is right
    ("42", "42", True),
    ("42", "41", False),
    ("42", "42.0", True),
    ("-3", "3", False),
    ("-3", "−3", True),
    ("1000", "1,000", True),
    ("1,000", r"1{,}000", True),
    ("1000", r"1\,000", True),
    ("1000", "1", False),
    ("18", r"\$18", True),
    ("18", "$18.00", True),
    ("18", "18 dollars", True),
    ("5", r"5\text{ cm}", True),
    ("5", "5 cm", True),
    ("120", "120 km/h", True),
    ("5", "5x", False),
    ("5", "5 thousand", False),
    ("5", "3 or 5", False),
    ("90", r"90^\circ", True),
    ("50", r"50\%", True),
    ("0.5", "50 percent", True),
    ("0.5", "50", False),
    (r"\frac{1}{2}", "1/2", True),
    (r"\frac12", "0.5", True),
    ("0.333333", "1/3", True),
    ("0.33", "1/3", False),
    ("3.5", r"3\frac{1}{2}", True),
    ("300000", r"3\times 10^5", True),
    (r"2\sqrt{3}", r"\sqrt{12}", True),
    ("(x+1)^2", "x^2+2x+1", True),
    ("(x+1)^2", "x^2+1", False),
    ("10", "x=10", True),
    ("(1,2)", "(2,1)", False),
    ("1,2", "2, 1", True),
    ("[0,1)", "(0,1)", False),
    ("Evelyn", r"\text{Evelyn}", True),
    ("Evelyn", "Eve", False),
    ("B", "C", False),
    ("42", "17+25", False),  # copied from the question
    ("42", r"\frac{84}{2}", False),
    ("42", "84/2", False),
    ("42", "", False),
]
HOSTILE = [
    "9^{9^{9^9}}",
    r"10^{10^{10}}!",
    "(" * 400,
    r"\frac{" * 80,
    r"\sum_{n=1}^{10^{9}} n!",
    "x" * 10_000,
    "__import__('os').system('touch pwned')",
    "\x00\n1",
]


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with open_verifier() as opened:
        yield opened


@pytest.mark.parametrize(("text", "answer"), SOLUTIONS)
def test_where_the_answer_stands(text: str, answer: str | None) -> None:
    assert find_final_answer(text) == answer


def test_unmarked_answers() -> None:
    """The last number counts only where this was asked for, and never before a marked answer."""
    assert find_final_answer("I had 9 and ate 2, which leaves 1,007 apples.", unmarked=True) == "1,007"
    assert find_final_answer("The answer is 3. I ate 2.", unmarked=True) == "3"
    assert find_final_answer("no number", unmarked=True) is None


def test_answers_of_the_data() -> None:
    """A short answer of the data needs no mark; a long one, or one with a broken mark, has no final answer."""
    assert find_right_answer(" 42. ") == "42" and find_right_answer("a\n#### 7") == "7"
    assert find_right_answer("It is\n42") is None and find_right_answer(r"\boxed{42") is None
    assert drop_calculations("6/2=<<6/2=3>>3 and 3<4") == "6/2=3 and 3<4"


@pytest.mark.parametrize(("right", "answer", "equal"), PAIRS)
def test_which_answers_are_right(verifier: Verifier, right: str, answer: str, equal: bool) -> None:
    assert verifier.verify(right, answer) == ("passed" if equal else "failed")


@pytest.mark.parametrize("answer", HOSTILE)
def test_hostile_answers_are_wrong(verifier: Verifier, answer: str) -> None:
    """An answer that would use up time or memory is wrong within the limit, runs nothing, and the next answer is verified."""
    started = time.monotonic()
    assert verifier.verify("5", answer) in ("failed", "timeout")
    assert time.monotonic() - started < 40
    assert not os.path.exists("pwned")
    assert verifier.verify(r"\frac{1}{2}", f"{started:.0f}/{2 * round(started)}") == "passed"


def test_a_stuck_process_is_replaced() -> None:
    """An answer that blocks the process, and a process that was killed, cost this answer alone."""
    with open_verifier(seconds=1.0) as verifier:
        assert verifier.verify("1/2", "2/4") in ("passed", "timeout")
        process = verifier.get_process()
        os.kill(process.pid, signal.SIGSTOP)
        assert verifier.verify("1/2", "3/6") == "timeout"
        assert process.poll() is not None
        verifier.get_process().kill()
        assert verifier.verify("1/2", "4/8") == "timeout"
        verifier.seconds = 30.0
        assert verifier.verify("1/2", "5/10") == "passed"
        last = verifier.get_process()
    assert last.poll() is not None


def test_threads(verifier: Verifier) -> None:
    """math-verify refuses to work outside of the main thread; here every thread gets its own answer's outcome."""
    outcomes: dict[int, str] = {}

    def verify(number: int) -> None:
        outcomes[number] = verifier.verify("1/3", f"{number}/{3 * number if number % 2 else 4 * number}")

    threads = [threading.Thread(target=verify, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == {number: "passed" if number % 2 else "failed" for number in range(1, 9)}


def _verify_in_fork(verifier: Verifier, answers: Connection) -> None:
    answers.send(verifier.verify("1/2", "21/42"))
    verifier.close()


def test_a_forked_process_has_its_own(verifier: Verifier) -> None:
    """The forked process of an arm does not write into the pipe of its parent, and does not end the parent's process."""
    assert verifier.verify("1/2", "11/22") == "passed"
    mine, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=_verify_in_fork, args=(verifier, theirs))
    child.start()
    assert mine.poll(120) and mine.recv() == "passed"
    child.join(30)
    assert verifier.verify("1/2", "12/24") == "passed"
