"""The page in a real browser: nothing is refused by its own policy, and nothing sticks out on a telephone."""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

from preflab.analysis.record import Results
from preflab.report.page import render_html

WIDTHS = (1280, 390)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --allow-file-access-from-files "
    "--enable-logging=stderr --v=0 --virtual-time-budget=4000 --timeout=30000 --dump-dom"
)
# A frame of each width holds the report; the page around it looks at it, or acts on it, and writes down what it returns.
HARNESS = """<!doctype html><title>harness</title><pre id="out"></pre>
FRAMES
<script>
addEventListener("load", () => {
  const seen = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, root = page.documentElement;
    ACT
  });
  document.getElementById("out").textContent = JSON.stringify(seen);
});
</script>"""
MEASURE = """
    const shapes = [...page.querySelectorAll("svg.figure path")].filter(path => path.getBoundingClientRect().width > 1);
    return {
      overflow: root.scrollWidth - root.clientWidth,
      family: frame.contentWindow.getComputedStyle(page.querySelector("h1")).fontFamily,
      shapes: shapes.length,
      thin: [...page.querySelectorAll("svg.figure")].filter(svg => svg.getBoundingClientRect().width < 300).length,
    };"""
SWITCH = """
    const shown = () => [...page.querySelectorAll('svg.figure [data-arm="4"]')]
      .filter(part => frame.contentWindow.getComputedStyle(part).display !== "none").length;
    const button = page.querySelector('.legend button[data-arm="4"]'), before = shown();
    button.click();
    const pressed = button.getAttribute("aria-pressed"), hidden = shown();
    button.click();
    const mark = page.querySelector('#frontier [data-note^="ppo, seed 2"]'), tip = page.querySelector(".tip");
    mark.dispatchEvent(new frame.contentWindow.PointerEvent("pointerover", {bubbles: true}));
    return {before, pressed, hidden, after: shown(), tip: tip.hidden ? "" : tip.textContent};"""


def look(chromium: str, folder: Path, *pages: str, act: str = MEASURE) -> tuple[list[dict[str, Any]], list[str]]:
    """What the harness returned for each page at each width, and the console's lines."""
    frames: list[str] = []
    for order, page in enumerate(pages):
        (folder / f"report{order}.html").write_text(page, encoding="utf-8")
        frames += [f'<iframe src="report{order}.html" width="{width}" height="800"></iframe>' for width in WIDTHS]
    harness = HARNESS.replace("FRAMES", "".join(frames)).replace("ACT", act)
    (folder / "harness.html").write_text(harness, encoding="utf-8")
    command = [chromium, *FLAGS.split(), f"--user-data-dir={folder / 'profile'}", f"file://{folder / 'harness.html'}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    match = re.search(r'<pre id="out">(.*?)</pre>', result.stdout, re.DOTALL)
    assert match is not None and match.group(1), result.stderr[-2000:]
    return json.loads(html.unescape(match.group(1))), [line for line in result.stderr.splitlines() if "CONSOLE" in line]


def with_long_words(results: Results) -> Results:
    """The example with a name, a testbed, a verdict and answers of 120 letters without a blank."""
    long = "a" * 120
    data = results.model_dump_json().replace('"best-of-4"', f'"{long}"').replace("interval 3.2", f"{long} {long}")
    return Results.model_validate_json(data.replace("map add 3 |", long).replace("minicode", long))


def test_page_renders(chromium: str, results: Results, page: str, tmp_path: Path) -> None:
    """Styled, figures drawn, no message on the console, no sideways scroll at either width, long words or not."""
    seen, console = look(chromium, tmp_path, page, render_html(with_long_words(results)))
    assert console == []
    for width, at in zip(WIDTHS * 2, seen, strict=True):
        assert at["overflow"] == 0, f"{at['overflow']} px stick out at {width} px"
        assert "Charter" in at["family"] and at["shapes"] > 100 and at["thin"] == 0


def test_arms_are_switched_off_and_points_explained(chromium: str, page: str, tmp_path: Path) -> None:
    """Protects the script: under the page's own policy a click on an arm of the legend hides it in every figure and another one
    shows it again; a pointer over a checkpoint shows what it is. The page itself hides nothing, as it is without a script."""
    seen, console = look(chromium, tmp_path, page, act=SWITCH)
    assert console == []
    for at in seen:
        assert at["before"] > 20 and at["hidden"] == 0 and at["after"] == at["before"] and at["pressed"] == "false"
        assert at["tip"].startswith("ppo, seed 2; step") and "KL" in at["tip"]
    assert not [names for names in re.findall(r'class="([^"]*)"', page) if "off" in names.split()]


def test_a_violation_would_be_seen(chromium: str, page: str, tmp_path: Path) -> None:
    """The checks above can fail: an inline style and script are refused on the console, and a wide box sticks out."""
    bad = '<p style="color: red">x</p><script>1</script><svg width="2000" height="9"></svg>'
    seen, console = look(chromium, tmp_path, page.replace("<footer>", f"{bad}<footer>"))
    assert len([line for line in console if "Content Security Policy" in line]) >= 2
    assert all(at["overflow"] > 0 for at in seen)
