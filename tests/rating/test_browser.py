"""The page in a real browser, used by keyboard: served and exported, by two raters, on a telephone's width."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from preflab.rating import RatedPair, export_page, import_labels, read_labels, summarise
from preflab.rating.order import is_swapped, mix

from .conftest import HOSTILE, Start
from .driving import Browser, open_browser

KEY_OF = {1.0: ("ArrowLeft", "ArrowRight"), 0.5: ("t", "0"), 0.0: ("ArrowRight", "ArrowLeft")}


def shown(browser: Browser) -> str:
    """The number of the pair that the page shows."""
    return browser.text("left").split()[1]


def rate(browser: Browser, outcome: float) -> None:
    """Presses the key that gives the first answer this outcome, and waits until the page has saved it."""
    before = browser.count()
    second_is_left = browser.text("left").startswith("second")
    browser.press(KEY_OF[outcome][second_is_left])
    browser.wait(f"!document.getElementById('progress').textContent.startsWith('{before} ')")
    assert browser.count() == before + 1


def press(browser: Browser, key: str, count: int) -> None:
    browser.press(key)
    browser.wait(f"document.getElementById('progress').textContent.startsWith('{count} ')")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_two_raters_by_keyboard(
    chromium: str, start: Start, folder: Path, tmp_path: Path, width: int, dark: bool
) -> None:
    """Two raters label by keyboard, with undo and skip. What is stored is the outcome of the first answer whatever the order
    was; hostile answers stay text; nothing sticks out; the page's own policy refuses nothing."""
    address, process = start()
    wanted = {"Ann Ä": [1.0, 0.5, 0.0, 1.0, 0.0, 1.0], "bob": [1.0, 0.5, 1.0, 1.0, 0.0, 0.5]}
    with open_browser(chromium, tmp_path) as browser:
        browser.resize(width, 844, dark=dark)
        for rater, outcomes in wanted.items():
            browser.open(address)
            browser.begin(rater)
            assert browser.value("document.documentElement.scrollWidth") <= width
            rate(browser, 1.0 - outcomes[0])
            press(browser, "u", 0)  # a wrong label is taken back
            for outcome in outcomes[:4]:
                rate(browser, outcome)
            assert shown(browser) == "4"
            browser.press("s")
            browser.wait("document.getElementById('left').textContent.split(' ')[1] === '5'")
            rate(browser, outcomes[5])
            assert shown(browser) == "4"  # what was skipped comes at the end
            rate(browser, outcomes[4])
            assert browser.value("!document.getElementById('done').hidden")
        assert browser.value("window.ran") is None
        assert browser.console == []
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "12 labels for 6 of 6 pairs (Ann Ä 6, bob 6)" in out and "Cohen's kappa" in out
    labels = read_labels(folder)
    assert {(label.rater, label.pair): label.outcome for label in labels} == {
        (rater, f"p{number}"): outcome for rater, outcomes in wanted.items() for number, outcome in enumerate(outcomes)
    }
    assert summarise(labels).agreement is not None


def test_killed_and_resumed(chromium: str, start: Start, folder: Path, tmp_path: Path) -> None:
    """The server is killed after three labels: they are there, the page says that the next one is not saved, and a server on
    the same folder goes on where the rater stopped."""
    address, process = start()
    with open_browser(chromium, tmp_path) as browser:
        browser.resize(1280, 800)
        browser.open(address)
        browser.begin("ann")
        for _ in range(3):
            rate(browser, 1.0)
        process.kill()
        process.wait()
        browser.press("t")
        browser.wait("!document.getElementById('notice').hidden")
        assert browser.text("notice").startswith("Not saved.") and browser.count() == 3
        assert [label.outcome for label in read_labels(folder)] == [1.0, 1.0, 1.0]
        again, _ = start()
        browser.open(again)
        browser.begin("ann")
        assert browser.count() == 3 and shown(browser) == "3"


def test_keys_that_are_not_choices(chromium: str, start: Start, folder: Path, tmp_path: Path) -> None:
    """Typing a name with the letters of keys, other keys, and a key that is held down give no label."""
    address, _ = start()
    with open_browser(chromium, tmp_path) as browser:
        browser.open(address)
        browser.begin("tus 120")
        for key in ("x", "Enter", "u"):
            browser.press(key)
        browser.value(
            "document.dispatchEvent(new KeyboardEvent('keydown', {key: 't', repeat: true})),"
            "document.dispatchEvent(new KeyboardEvent('keydown', {key: 't', ctrlKey: true}))"
        )
        time.sleep(0.2)
        assert browser.count() == 0 and read_labels(folder) == []


def test_exported_page(chromium: str, pairs: list[RatedPair], folder: Path, tmp_path: Path) -> None:
    """A rater elsewhere uses the file by keyboard, closes it, goes on, and downloads the labels; their import gives the
    outcomes of the first answers. The file computes the order that `preflab.rating.order` computes."""
    page = tmp_path / "page.html"
    export_page(pairs, page)
    assert HOSTILE not in page.read_text()
    outcomes = [0.0, 1.0, 0.5, 1.0, 1.0, 0.0]
    with open_browser(chromium, tmp_path) as browser:
        browser.resize(390, 844)
        browser.open(page.as_uri())
        browser.begin(" Zoë   B. ")
        assert browser.value("document.documentElement.scrollWidth") <= 390
        for outcome in outcomes[:3]:
            rate(browser, outcome)
        browser.value("document.getElementById('download').click()")
        browser.open(page.as_uri())
        browser.begin("Zoë B.")
        assert browser.count() == 3
        for outcome in outcomes[3:]:
            rate(browser, outcome)
        first = wait_for(tmp_path / "labels-Zoë-B-.json")
        assert import_labels(first, folder) == 3
        first.unlink()
        browser.value("document.getElementById('download').click()")
        assert import_labels(wait_for(first), folder) == 3
        assert import_labels(first, folder) == 0
        assert browser.value("window.ran") is None and browser.console == []
    assert {label.pair: label.outcome for label in read_labels(folder)} == {
        f"p{number}": outcome for number, outcome in enumerate(outcomes)
    }
    swapped = [event["swapped"] for event in json.loads(first.read_text())["events"]]
    assert swapped == [is_swapped(f"p{number}", "Zoë B.") for number in range(6)]


def wait_for(path: Path) -> Path:
    """Waits for a download."""
    end = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < end, sorted(path.parent.iterdir())
        time.sleep(0.05)
    return path


def test_mix_is_known() -> None:
    """The order must not change between versions: exported pages in use would then be refused."""
    assert [mix(text) for text in ("", "a", "Zoë\np1")] == KNOWN_MIXES


KNOWN_MIXES = [2872998923, 444641715, 972974327]
