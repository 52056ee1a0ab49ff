"""The boundary that reads the user's files of settings: every fault is one line with the file and the line or the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from preflab.errors import UserError
from preflab.plain import read_data
from preflab.theory.problems import read_tabular_problem

BOMB = b"a: &a [1,1,1,1,1,1,1,1,1,1]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 10)) for n in range(9)
)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.yaml", b"a: 1\nseeds: " + b"9" * 5000, "line 2, column 8: '9+' is not a int"),
        ("a.yaml", b"[" * 100_000, "line 1, column 201: brackets are nested too deeply"),
        ("a.yaml", b"a: 2024-02-30", "line 1, column 4: '2024-02-30' is a timestamp"),
        ("a.yaml", b"a: 2024-02-20", "line 1, column 4: '2024-02-20' is a timestamp"),
        ("a.yaml", b"a: !!timestamp x", "line 1, column 4: 'x' is a timestamp"),
        ("a.yaml", b"a: !!int ''", "line 1, column 4: '' is not a int"),
        ("a.yaml", b"a: !!bool x", "line 1, column 4: 'x' is not a bool"),
        ("a.yaml", b"a: !!map [1]", "line 1, column 4: this is not a mapping"),
        ("a.yaml", b"a: !!set {x}", "line 1, column 4: this is a set"),
        ("a.yaml", b"a: 1" + b":1" * 3000, "line 1, column 4: YAML reads '1:1:1.*in base 60 or 8"),
        ("a.yaml", b"epochs: 1:30", "line 1, column 9: YAML reads '1:30' in base 60 or 8"),
        ("a.yaml", b"epochs: 1:30.5", "YAML reads '1:30.5' in base 60 or 8"),
        ("a.yaml", b"epochs: 010", "YAML reads '010' in base 60 or 8"),
        ("a.yaml", b"a: {b: [0, 9223372036854775808]}", "`a.b.1`: a number needs more than 64 bits"),
        ("a.yaml", "a: b".encode("utf-16"), "line 1 is not UTF-8"),
        ("a.yaml", b"a: 1\nb: \xff", "line 2 is not UTF-8"),
        ("a.yaml", b"a: 1\nb: \x01", "line 2 contains a character"),
        ("a.yaml", b'a: "\\ud800"', "`a`: a string contains half a surrogate pair"),
        ("a.yaml", b"arms: {dpo: 1, sft: 2, dpo: 3}", "line 1, column 24: the key 'dpo' occurs twice"),
        ("a.yaml", b"on: 1", "the key `True` must be text"),
        ("a.yaml", b"a: {1: 1}", "`a`: the key `1` must be text"),
        ("a.yaml", b"a: &x [*x]", "nested too deeply"),
        ("a.yaml", BOMB, "more than 200,000 values"),
        ("a.yaml", b"--- 1\n--- 2", "line 2, column 1: expected a single document"),
        ("a.json", b"[1,\n" + b"9" * 5000 + b"]", "a number has too many digits, at line 2"),
        ("a.json", b"\n" + b"[" * 100_000, "nested too deeply, at line 2"),
        ("a.json", b'{"a":' * 500 + b"1" + b"}" * 500, "nested too deeply"),
        ("a.json", b'{"a": 1, "a": 2}', "the key `a` occurs twice"),
        ("a.json", b'{"a": ["\\udfff"]}', "`a.0`: a string contains half a surrogate pair"),
        ("a.json", b'{\n"a": }', "line 2, column 6"),
        ("a.toml", b"\na = " + b"9" * 5000, "a number has too many digits, at line 2"),
        ("a.toml", b"a = " + b"[" * 100_000, "nested too deeply, at line 1"),
        ("a.toml", b"a = 2024-02-30", "line 1"),
        ("a.toml", b"[a]\nb = 2024-02-20", "`a.b`: 2024-02-20 is a date"),
        ("a.toml", b"a = 1\n" * 1_000_000, "more than 4 MB"),
    ],
)
def test_what_no_settings_file_may_hold(tmp_path: Path, name: str, content: bytes, complaint: str) -> None:
    """One line that names the file, and the line or the key; no error of Python's."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name} cannot be read: .*{complaint}") as caught:
        read_data(tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1


def test_what_a_settings_file_may_hold(tmp_path: Path) -> None:
    """A mark at the file's begin, tabs in JSON, merged mappings, and names that are texts of digits."""
    files = {
        "a.yaml": (
            b"\xef\xbb\xbfa: &a {x: 1}\nb: {<<: *a, x: 2}\n'1': \"on\"",
            {"a": {"x": 1}, "b": {"x": 2}, "1": "on"},
        ),
        "a.json": (b'{\n\t"a": [1e5, null, "\\ud83d\\ude00"]\n}', {"a": [1e5, None, "\U0001f600"]}),
        "a.toml": (b"a.b = [true]", {"a": {"b": [True]}}),
    }
    for name, (content, data) in files.items():
        (tmp_path / name).write_bytes(content)
        assert read_data(tmp_path / name) == data


def test_nested_lists_where_numbers_belong(tmp_path: Path) -> None:
    """A theory file's faults are named by their key."""
    path = tmp_path / "problem.json"
    path.write_text('{"reference": [[[[0.5]]]], "wins": [[[[0]]]], "beta": [1], "free": [[0]], "share": 0.5}')
    with pytest.raises(UserError, match=r"problem\.json: `reference\.0\.0`"):
        read_tabular_problem(path)
