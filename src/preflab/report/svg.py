"""Converts a matplotlib figure to SVG that uses the colours and fonts of the page.

matplotlib draws a figure in placeholder colours such as `INK`. This module replaces the placeholders by CSS classes, so
that the same figure works on a light page, on a dark page and in print. It also replaces style attributes by
presentation attributes, so that the content security policy can forbid inline styles.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from preflab.svg import round_decimals, write_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = 8
"""The number of colours for arms in the style sheet (`--c0` to `--c7`)."""
INK, MUTED, GRID, SURFACE = "#010001", "#010002", "#010003", "#010004"
_CLASSES = {INK: "ink", MUTED: "muted", GRID: "grid", SURFACE: "paper"}
_CLASSES.update({f"#0200{index:02x}": f"c{index}" for index in range(COLOURS)})
_FONT = re.compile(r"(\d+(?:\.\d+)?)px")
_REFERENCE = re.compile(r"^(url\()?#?")
_PART = re.compile(r"arm-(\d+)(?:-(\d+))?")
_DROPPED = {"metadata", "style", "title"}


def arm_colour(index: int) -> str:
    """Returns the placeholder colour of the arm at `index`."""
    return f"#0200{index % COLOURS:02x}"


def part_name(order: int, note: int | None = None) -> str:
    """Returns the SVG id of an element that belongs to the arm at index `order`. `note`: the index of the element's
    tooltip, or None for no tooltip. The id contains `order` and `note`, and the function `themed` reads them from the
    id."""
    return f"arm-{order}" if note is None else f"arm-{order}-{note}"


def themed(figure: Figure, *, name: str, label: str, notes: Sequence[str] = ()) -> Markup:
    """Returns the figure as inline SVG. `name`: a prefix that makes the ids of the figure unique in the page. `label`:
    the alternative text for screen readers. `notes`: the tooltips of the figure's elements.

    An element that belongs to an arm (see `part_name`) gets the attribute `data-arm`. The tooltip of an element is
    written as an SVG title inside the element, which browsers show as a tooltip.
    """
    root = ElementTree.fromstring(write_svg(figure, name=name))
    _clean(root)
    for element in list(root.iter()):
        part = _PART.fullmatch(element.get("id", ""))
        _rewrite(element, name)
        if part is not None:
            element.set("data-arm", part.group(1))
            if part.group(2) is not None:
                note = ElementTree.Element("title")
                note.text = notes[int(part.group(2))]
                element.insert(0, note)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label, "class": "figure"}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _clean(parent: ElementTree.Element) -> None:
    for child in list(parent):
        if _local(child.tag) in _DROPPED:
            parent.remove(child)
        else:
            child.tail = child.tail if _local(child.tag) == "tspan" else None
            _clean(child)
    if not (parent.text or "").strip():
        parent.text = None


def _rewrite(element: ElementTree.Element, name: str) -> None:
    element.tag = _local(element.tag)
    attributes = {_local(key): value for key, value in element.attrib.items()}
    style = attributes.pop("style", "")
    classes: list[str] = []
    for key, _, value in (part.strip().partition(": ") for part in style.split(";") if part.strip()):
        if key in ("fill", "stroke") and value in _CLASSES:
            classes.append(f"{key[0]}-{_CLASSES[value]}")
        elif key == "font":  # matplotlib before 3.10 writes the shorthand property `font`
            attributes["font-size"] = size.group(1) if (size := _FONT.search(value)) else "11"
            attributes["font-weight"] = "700" if value.startswith(("bold", "700")) else "400"
        elif key != "font-family":
            attributes[key] = value
    if attributes.get("transform", "").startswith("rotate(-0 "):
        del attributes["transform"]
    if "id" in attributes and element.tag == "g":
        del attributes["id"]  # no element refers to the id of a group
    for key in attributes.keys() & {"d", "x", "y", "cx", "cy", "transform"}:
        attributes[key] = round_decimals(attributes[key].strip())
    for key in attributes.keys() & {"id", "href", "clip-path"}:
        attributes[key] = _REFERENCE.sub(rf"\g<0>{name}-", attributes[key])
    if classes:
        attributes["class"] = " ".join(classes)
    element.attrib = attributes


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
