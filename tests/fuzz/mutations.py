"""Mutations of a user's files, each drawn from a seed: of the bytes, and of what they say."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

WEIRD: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2, 1.5, -0.0, 1e308, -1e308, 2**31, 2**63 - 1, -(2**63), 10**30),
    *("", " ", "x", "nan", "1", "true", "auto", "tests", "stage:x", "a:b", "module:", "../../escaped", "/", "~", "é"),
    *("\x1b[31m", "\x00", "\n", "\ud800", "\u202e", "x" * 10_000, "9" * 5000, "2024-02-30", "(" * 50, "%s{}"),
    *([], {}, [[]], [None], [1, "a"], {"a": {}}, {"kind": "sft"}, {"kind": None}, {"": 1}, [0] * 50, {"\x1b[2J": "x"}),
)
"""What stands where something else belongs."""
TOKENS: tuple[bytes, ...] = (
    *(b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3", b"\r", b"\n", b"\n\n", b"\t", b" ", b"\x1b[31m", b"\x1b]0;x\x07"),
    *(
        b"[",
        b"]",
        b"{",
        b"}",
        b'"',
        b"'",
        b":",
        b",",
        b"-",
        b"#",
        b"&a ",
        b"*a",
        b"!!",
        b"!!timestamp ",
        b"<<: ",
        b"? ",
    ),
    *(
        b"null",
        b"NaN",
        b"Infinity",
        b"-1",
        b"1e999",
        b"true",
        b"2024-02-30",
        b"0x",
        b"1:60",
        b'"\\ud800"',
        b'"\\u0000"',
    ),
    *(b"9" * 5000, b"[" * 300, b'{"a":' * 300, b"[" * 30_000, b"a: " * 300, b"../../x", b"---\n", b"%YAML 9\n", b"\\"),
)


def mutate_bytes(content: bytes, draw: random.Random) -> bytes:
    """One to four flips, cuts, copies and insertions."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4))):
        start = draw.randrange(len(data) + 1)
        end = min(len(data), start + draw.choice((1, 2, 8, 64)))
        way = draw.randrange(6)
        if way == 0 and start < len(data):
            data[start] ^= 1 << draw.randrange(8)
        elif way == 1:
            del data[start:end]
        elif way == 2:
            data[start:start] = data[start:end]
        elif way == 3:
            del data[start:]
        else:
            data[start : start if way == 4 else end] = draw.choice(TOKENS)
    return bytes(data)


def mutate_data(data: Any, draw: random.Random) -> Any:
    """The data with one or two places replaced, removed, renamed, wrapped or copied."""
    data = copy.deepcopy(data)
    for _ in range(draw.choice((1, 1, 2))):
        places = list(_places(data))
        if not places:
            return draw.choice(WEIRD)
        parent, key = draw.choice(places)
        way = draw.randrange(8)
        if way == 0:
            del parent[key]
        elif way == 1 and isinstance(parent, dict):
            parent[draw.choice((f"{key}x", "", "kind", "\x1b[31m", "a.b"))] = parent.pop(key)
        elif way == 2:
            parent[key] = [parent[key]]
        elif way == 3:
            _, other = draw.choice(places)
            parent[key] = {str(other): parent[key]}
        elif way == 4:
            source, name = draw.choice(places)
            parent[key] = copy.deepcopy(source[name])
        else:
            parent[key] = copy.deepcopy(draw.choice(WEIRD))
    return data


def mutate_lines(lines: list[Any], draw: random.Random) -> bytes:
    """JSON lines, of which one says something else, or the bytes do."""
    if draw.random() < 0.4:
        return mutate_bytes(write_lines(lines), draw)
    number = draw.randrange(len(lines))
    return write_lines([*lines[:number], mutate_data(lines[number], draw), *lines[number + 1 :]])


def write_lines(lines: list[Any]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def _places(data: Any) -> Any:
    """Every (container, key) in the data."""
    if isinstance(data, dict | list):
        for key in list(data) if isinstance(data, dict) else range(len(data)):
            yield data, key
            yield from _places(data[key])
