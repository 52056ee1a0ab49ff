"""Files, folders and hub names: the same records whatever holds them, and broken ones named by their place."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from preflab.data.files import choose_split, list_splits, part_split, read_source
from preflab.data.reading import FileReading
from preflab.data.source_check import check_source
from preflab.errors import UserError
from preflab.types import Problem, Test

RECORDS = [
    {"prompt": 'one, "two"\nthree', "chosen": "good", "rejected": "bad", "margin": 2.5},
    {"prompt": "ünï", "chosen": "[INST] good", "rejected": "[1, 2]", "margin": None},
    {"prompt": "3", "chosen": "{good}", "rejected": "x", "margin": 1.0},
]


def as_lines(records: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def as_csv(records: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]))
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode()


def as_parquet(records: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), sink)
    return sink.getvalue()


FORMS: dict[str, tuple[str, Callable[[list[dict[str, Any]]], bytes]]] = {
    "lines": ("x.jsonl", as_lines),
    "lines named json": ("x.json", as_lines),
    "lines without a name": ("x", as_lines),
    "lines with a mark of their order of bytes": ("x.jsonl", lambda rows: b"\xef\xbb\xbf" + as_lines(rows)),
    "a list": ("x.json", lambda rows: json.dumps(rows).encode()),
    "an indented list": ("x.json", lambda rows: json.dumps(rows, indent=2).encode()),
    "a list named jsonl": ("x.jsonl", lambda rows: json.dumps(rows).encode()),
    "a list with a mark of its order of bytes": ("x.jsonl", lambda rows: b"\xef\xbb\xbf" + json.dumps(rows).encode()),
    "lines named csv": ("x.csv", as_lines),
    "a list named tsv": ("x.tsv", lambda rows: json.dumps(rows).encode()),
    "an object that holds a list": ("x.json", lambda rows: json.dumps({"version": 1, "data": rows}, indent=1).encode()),
    "columns": ("x.json", lambda rows: json.dumps({name: [row[name] for row in rows] for name in rows[0]}).encode()),
    "columns as pandas writes them": (
        "x.json",
        lambda rows: json.dumps({name: {n: row[name] for n, row in enumerate(rows)} for name in rows[0]}).encode(),
    ),
    "records by number": ("x.json", lambda rows: json.dumps(dict(enumerate(rows))).encode()),
    "splits": ("x.json", lambda rows: json.dumps({"train": rows, "test": rows[:1]}, indent=1).encode()),
    "splits after a version": (
        "x.json",
        lambda rows: json.dumps({"version": "1", "rows": -3.5, "x": None, "train": rows, "test": rows[:1]}).encode(),
    ),
    "csv": ("x.csv", as_csv),
    "parquet": ("x.parquet", as_parquet),
    "parquet without a name": ("x", as_parquet),
}


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzipped"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_holds_the_same_records(form: str, zipped: bool, tmp_path: Path) -> None:
    """Protects what people bring: the same three pairs, each in its place, from every kind of file, gzipped or not."""
    name, write = FORMS[form]
    path = tmp_path / (name + ".gz" * (zipped and "." in name))
    path.write_bytes(gzip.compress(write(RECORDS)) if zipped else write(RECORDS))
    rows = list(FileReading().read_rows(read_source(str(path))))
    found = [(row.prompt.turns[0].content, row.answer and row.answer.text, row.margin) for _, row in rows]
    assert found == [(record["prompt"], record["chosen"], record["margin"]) for record in RECORDS]
    assert len({where for where, _ in rows}) == 3 and all(where.startswith(f"{path}:") for where, _ in rows)
    assert len(list(read_source(str(path), rows=2))) == 2


def test_splits_inside_a_json_file(tmp_path: Path) -> None:
    """Protects from train and test as one: each split of an object is read by its name, and without `train` one is chosen."""
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"train": RECORDS, "test": RECORDS[:1], "version": 1}))
    assert list_splits(str(path)) == ["test", "train"]
    assert [record for _, record in read_source(f"{path}#test")] == RECORDS[:1]
    assert [record for _, record in read_source(str(path), split="test")] == RECORDS[:1]
    with pytest.raises(UserError, match=r"has no split 'tset'.*test"):
        list(read_source(str(path), split="tset"))
    path.write_text(json.dumps({"test": RECORDS, "validation": RECORDS[:1]}))
    with pytest.raises(UserError, match=r"has several splits: .*\. Choose one"):
        list(read_source(str(path)))
    path.write_text(json.dumps({"train": RECORDS, "test": []}))
    with pytest.raises(UserError, match="is empty: the file contains no record"):
        list(read_source(f"{path}#test"))


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]},
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        {"conversations": ["q", "a"]},
        {"prompt": "q", "completion": "a", "tags": []},
        {"prompt": ["q"], "completion": ["a", "b"]},
        {"chosen": {"role": "assistant", "content": "a"}, "rejected": {"role": "assistant", "content": "b"}},
    ],
)
def test_a_json_object_may_be_one_record(record: dict[str, Any], tmp_path: Path) -> None:
    """Protects a single record whose fields are lists from being taken for a table."""
    (tmp_path / "x.json").write_text(json.dumps(record))
    assert [found for _, found in read_source(str(tmp_path / "x.json"))] == [record]


def test_an_answer_in_a_cell_may_be_json(tmp_path: Path) -> None:
    """Protects answers that are JSON themselves: they stay text, as they are in JSON lines."""
    answers = ('{"name": "x"}', '[{"value": 3}]', "{'name': 'x'}", "[1, 2]")
    for better, worse in (("completion", "x"), ("winner", "loser"), ("response_j", "response_k")):
        table = [{"prompt": f"{n}", better: answer, worse: "b"} for n, answer in enumerate(answers)]
        (tmp_path / "x.csv").write_bytes(as_csv(table))
        rows = [row for _, row in FileReading().read_rows(read_source(str(tmp_path / "x.csv")))]
        assert [row.answer and row.answer.text for row in rows] == list(answers)


def test_a_list_without_commas_is_refused(tmp_path: Path) -> None:
    """Protects from numpy's lists of texts, which Python would read as one long text."""
    ranked = [{"prompt": "q", "completions": "['good'\n 'bad']", "scores": "[2, 1]"}]
    (tmp_path / "x.csv").write_bytes(as_csv(ranked))
    with pytest.raises(UserError, match="`completions` and `scores` must be two lists"):
        list(FileReading().read_rows(read_source(str(tmp_path / "x.csv"))))
    (tmp_path / "x.csv").write_bytes(as_csv([{"question_id": "1", "turns": "['q' 'then?']"}]))
    with pytest.raises(UserError, match="`turns` must be a list of questions"):
        list(FileReading().read_rows(read_source(str(tmp_path / "x.csv"))))


def test_cells_of_csv_hold_messages_and_lists(tmp_path: Path) -> None:
    """Protects tables of dialogues, written as JSON or as Python writes them, from being read as one long text."""
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "it's"}]
    rows = [
        {"messages": json.dumps(messages), "label": "true"},
        {"messages": str(messages), "label": "false"},
    ]
    (tmp_path / "x.csv").write_bytes(as_csv(rows))
    read = [row for _, row in FileReading().read_rows(read_source(str(tmp_path / "x.csv")))]
    assert [(row.answer and row.answer.text, row.rejected and row.rejected.text) for row in read] == [
        ("it's", None),
        (None, "it's"),
    ]
    ranked = [{"prompt": "q", "completions": '["a", "b"]', "scores": "[1, 2]"}]
    (tmp_path / "r.csv").write_bytes(as_csv(ranked))
    [(_, row)] = FileReading().read_rows(read_source(str(tmp_path / "r.csv")))
    assert row.answer is not None and row.answer.text == "b"


@pytest.mark.parametrize(
    ("content", "unread"),
    [
        (b",prompt,completion\n0,q,a\n1,r,b\n", "Unnamed: 0"),
        (b"prompt,completion,\nq,a,x\nr,b,\n", "Unnamed: 2"),
        (b"prompt,completion,\nq,a,\nr,b,\n", ""),
    ],
)
def test_columns_of_csv_without_a_name(content: bytes, unread: str, tmp_path: Path) -> None:
    """Protects tables with the index that pandas writes, or with a comma at the end: they are read, and what is not read of
    them is named."""
    (tmp_path / "x.csv").write_bytes(content)
    reading = FileReading()
    rows = [row for _, row in reading.read_rows(read_source(str(tmp_path / "x.csv")))]
    assert [row.answer and row.answer.text for row in rows] == ["a", "b"]
    assert reading.write_notes() == ([f"Fields that are not read: `{unread}`."] if unread else [])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", b"prompt;completion\nq;a, b\nr;c\n"),
        ("x.csv", b'prompt;completion\r\n"q";"a, b"\r\nr;c\r\n'),
        ("x.csv", b"prompt\tcompletion\nq\ta, b\nr\tc\n"),
        ("x.csv", b"prompt|completion\rq|a, b\rr|c\r"),
        ("x.csv", b'sep=,\r\nprompt,completion\r\nq,"a, b"\r\nr,c\r\n'),
        ("x.csv", b'\xef\xbb\xbf"sep=;"\nprompt;completion\nq;a, b\nr;c\n'),
        ("x.csv", b'prompt, completion\nq, "a, b"\nr, c\n'),
        ("x.csv", b'prompt ,completion\nq,"a, b"\nr,c\n'),
        ("x.tsv", b'prompt,completion\nq,"a, b"\nr,c\n'),
        ("x.tsv", b"prompt\tcompletion\nq\ta, b\nr\tc\n"),
    ],
)
def test_tables_with_other_delimiters(name: str, content: bytes, tmp_path: Path) -> None:
    """Protects tables as Excel and other programs write them, whose first line shows what parts the cells."""
    (tmp_path / name).write_bytes(content)
    read = list(FileReading().read_rows(read_source(str(tmp_path / name))))
    assert [(row.prompt.turns[0].content, row.answer and row.answer.text) for _, row in read] == [
        ("q", "a, b"),
        ("r", "c"),
    ]
    above = int(b"sep=" in content)
    assert [where.rpartition(":")[2] for where, _ in read] == [f"{2 + above}", f"{3 + above}"]


def test_a_long_list_is_read_in_pieces(tmp_path: Path) -> None:
    """Protects memory and the seams between pieces: records of every length around the size of a piece come back whole."""
    rows = [{"prompt": f"{n} ", "completion": 'é\\"]}' * (n * 7919 % 90_000)} for n in range(60)]
    (tmp_path / "x.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    assert [record for _, record in read_source(str(tmp_path / "x.json"))] == rows


BROKEN: dict[str, tuple[str, bytes, str]] = {
    "a line": ("x.jsonl", as_lines(RECORDS[:1]) + b'{"prompt": \n' + as_lines(RECORDS[1:]), r"x\.jsonl:2 is not JSON"),
    "a byte": (
        "x.jsonl",
        as_lines(RECORDS[:1]) + b'{"prompt": "\xff"}\n' + as_lines(RECORDS[1:]),
        r"x\.jsonl:2 is not UTF-8",
    ),
    "a table in Windows-1252": (
        "x.csv",
        "prompt,completion\nq,ü\n".encode("cp1252"),
        r"x\.csv:\d cannot be read: its text is not UTF-8",
    ),
    "a list in Windows-1252": (
        "x.json",
        '[{"prompt": "ü"}]'.encode("cp1252"),
        r"after record 0: its text is not UTF-8",
    ),
    "a list in a line": ("x.jsonl", as_lines(RECORDS[:1]) + b"[1]\n", r"x\.jsonl:2 is a JSON list"),
    "an item": (
        "x.json",
        b'[{"prompt": "q"}, {"prompt": }, {}]',
        r"x\.json:2 is not JSON.*The rest cannot be read",
    ),
    "an item of another kind": ("x.json", b'[{"prompt": "q"}, 3]', r"x\.json:2 is a JSON int"),
    "what follows a list": (
        "x.json",
        b'[{"prompt": "q"}]\n \n xx',
        r"x\.json:2: text follows the end of the JSON list",
    ),
    "a second list": (
        "x.jsonl",
        b'[{"prompt": "q"}]\n[{"prompt": "r"}]',
        r"x\.jsonl:2: text follows the end of the JSON list",
    ),
    "a list that does not end": ("x.json", b'[{"prompt": "q"},', r"x\.json:2 is not JSON"),
    "a cell too many": (
        "x.csv",
        b"prompt,completion\na,b\nc,d,e\n",
        r"x\.csv:3 has 3 cells, but the first line names 2",
    ),
    "a quote that nothing closes": (
        "x.csv",
        b'prompt,completion\nq1,a1\nq2,"unclosed answer\nq3,a3\nq4,a4\n',
        r"x\.csv:3: a quotation mark .* and no second mark closes the cell\. The rest",
    ),
    "a quote that a later cell seems to close": (
        "x.csv",
        b'prompt,completion\nq1,"two\nlines"\nq2,"unclosed\nq3,a3\nq4,"a, 4"\n',
        r"x\.csv:4: .* follows the closing mark on line 6",
    ),
    "quotes inside of a quoted cell": (
        "x.csv",
        b'prompt,completion\nq1,"he said "hi" and left"\n',
        r"x\.csv:2: .* follows the closing mark .*on line 2.*inside of a cell twice",
    ),
    "lines that end in a carriage return alone": (
        "x.jsonl",
        as_lines(RECORDS).replace(b"\n", b"\r"),
        r"x\.jsonl:1 contains several lines that end in a carriage return alone",
    ),
    "a quote after the line of Excel": (
        "x.csv",
        b'sep=;\nprompt;completion\nq;a\nr;"b\n',
        r"x\.csv:4: a quotation mark .* and no second mark closes the cell",
    ),
    "a key that occurs twice": (
        "x.jsonl",
        b'{"prompt": "q", "completion": "a", "label": true, "label": false}\n' + as_lines(RECORDS),
        r"x\.jsonl:1: the key `label` occurs twice",
    ),
    "a key that occurs twice in a list": (
        "x.json",
        b'[{"prompt": "q"}, {"prompt": "r", "level": "1", "level": "2"}, {"prompt": "s"}]',
        r"x\.json:2: the key `level` occurs twice.*The rest of the file is not read",
    ),
    "a gzip cut short": ("x.jsonl.gz", gzip.compress(as_lines(RECORDS))[:-12], r"cannot be read after line"),
    "a number of 5,000 digits": ("x.jsonl", b'{"prompt": 1' + b"0" * 5000 + b"}\n", r"x\.jsonl:1 cannot be read"),
    "100,000 brackets": ("x.jsonl", b"[" * 100_000 + b"\n", r"x\.jsonl:1 (cannot be read|is not JSON)"),
}


@pytest.mark.parametrize(("name", "content", "complaint"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_named(name: str, content: bytes, complaint: str, tmp_path: Path) -> None:
    """Protects the user: file, place and reason in one line; whoever checks a file is told all of them and reads on."""
    (tmp_path / name).write_bytes(content)
    errors = [record for _, record in read_source(str(tmp_path / name)) if isinstance(record, UserError)]
    assert len(errors) == 1
    with pytest.raises(UserError, match=complaint) as raised:
        list(FileReading().read_rows(read_source(str(tmp_path / name))))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("x.jsonl", b"\n \n", "is empty"),
        ("x.json", b"[]", "is empty"),
        ("x.csv", b"prompt,completion\n", "is empty"),
        ("x.csv", b"prompt,prompt\na,b\n", "must give every column a different name"),
        ("x.csv", b",\na,b\n", "must give every column a different name"),
        ("x.json", b"not json", "is not JSON"),
        ("x.json", b'{"data": [{"prompt": "q"}],\n "data": []}', r"x\.json: the key `data` occurs twice"),
        ("x.parquet", b"PAR1nothing more", "cannot be read"),
    ],
)
def test_a_file_of_no_use_is_refused(name: str, content: bytes, complaint: str, tmp_path: Path) -> None:
    """Protects from a file that holds nothing, or nothing that its name promises."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=complaint):
        list(FileReading().read_rows(read_source(str(tmp_path / name))))


FOREIGN = {
    "x.zip": b"PK\x03\x04\x14\x00",
    "x.jsonl.bz2": bz2.compress(as_lines(RECORDS)),
    "x.jsonl.xz": lzma.compress(as_lines(RECORDS)),
    "x.jsonl.zst": b"\x28\xb5\x2f\xfd\x04",
    "x.arrow": b"\xff\xff\xff\xff\x10\x01",
    "y.arrow": b"ARROW1\x00\x00",
    "x.jsonl.gz": gzip.compress(gzip.compress(as_lines(RECORDS))),
    "utf-16.jsonl": as_lines(RECORDS).decode().encode("utf-16"),
    "utf-16.csv": as_csv(RECORDS).decode().encode("utf-16-be"),
    "utf-16.json": json.dumps(RECORDS).encode("utf-16-le"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_format_that_is_not_read_is_named(name: str, tmp_path: Path) -> None:
    """Protects from "not UTF-8" about a file that is whole, but in another format."""
    (tmp_path / name).write_bytes(FOREIGN[name])
    with pytest.raises(UserError, match=r"has the format .*, which preflab cannot read\. Unpack the file\. Or save"):
        list(read_source(str(tmp_path / name)))


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.json", "x.parquet"])
def test_what_a_download_left_instead_of_the_data_is_named(name: str, tmp_path: Path) -> None:
    """Protects from "not JSON" about a file that was never downloaded: a clone without Git LFS, or a page that says why."""
    for content, what in (
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n", "a pointer to a file in Git LFS"),
        (b"\n<!DOCTYPE html>\n<html><body>Sign in", "a page in HTML"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"is {what}, and contains no data. Download the data file itself"):
            list(read_source(str(tmp_path / name)))


def test_columns_and_numbers_of_parquet(tmp_path: Path) -> None:
    """Protects from the first of two columns of one name, which a row loses, and reads the decimal numbers of a database."""
    path = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(pyarrow.table([["q"], ["r"], ["a"]], names=["prompt", "prompt", "completion"]), path)
    with pytest.raises(UserError, match=r"x\.parquet: the column `prompt` occurs twice"):
        list(read_source(str(path)))
    path.write_bytes(as_parquet([{"prompt": "q", "chosen": "a", "rejected": "b", "margin": Decimal("0.5")}]))
    assert [row.margin for _, row in FileReading().read_rows(read_source(str(path)))] == [0.5]


def damage(content: bytes, rng: random.Random) -> bytes:
    """The content with a bit turned, an end cut off, a piece cut out or a piece put in."""
    at, length = rng.randrange(len(content)), rng.randrange(1, 40)
    piece = rng.choice([b"\0", b"[", b"{", b'"', b"\xff\xfe", b"1e999", b",", b"\n"]) * length
    turned = bytes([content[at] ^ 1 << rng.randrange(8)])
    return rng.choice(
        [
            content[:at] + turned + content[at + 1 :],
            content[:at],
            content[:at] + content[at + length :],
            content[:at] + piece + content[at:],
        ]
    )


def test_damage_is_never_a_traceback(tmp_path: Path) -> None:
    """Protects every reader of files: whatever is damaged, a check ends, in counts or in one line."""
    rng = random.Random(0)
    for name, write in FORMS.values():
        for zipped in (False, True):
            content = gzip.compress(write(RECORDS * 5)) if zipped else write(RECORDS * 5)
            path = tmp_path / (name + ".gz" * (zipped and "." in name))
            for _ in range(25):
                path.write_bytes(damage(content, rng))
                try:
                    check_source(str(path), read_source(str(path)), FileReading())
                except UserError as error:
                    message = str(error)
                else:
                    message = ""
                assert "\n" not in message


def test_text_that_is_not_utf8_in_parquet(tmp_path: Path) -> None:
    """Protects from Parquet files whose text other programs wrote without checking it."""
    table, path = pyarrow.table({"prompt": ["q" * 40], "completion": ["a"]}), tmp_path / "x.parquet"
    pyarrow.parquet.write_table(table, path, compression="none", write_statistics=False)
    path.write_bytes(path.read_bytes().replace(b"q" * 40, b"\xe7" * 40))
    with pytest.raises(UserError, match=r"x\.parquet cannot be read after row 0"):
        list(FileReading().read_rows(read_source(str(tmp_path / "x.parquet"))))


def test_folders_and_their_splits(tmp_path: Path) -> None:
    """Protects a clone of a data set's repository: shards belong together, names are splits, and one must be meant."""
    folder = tmp_path / "data"
    folder.mkdir()
    for shard, records in enumerate((RECORDS[:2], RECORDS[2:])):
        (folder / f"train-{shard:05}-of-00002.parquet").write_bytes(as_parquet(records))
    (folder / "test_prefs.jsonl.gz").write_bytes(gzip.compress(as_lines(RECORDS[:1])))
    (tmp_path / "README.md").write_text("no data")
    name = str(tmp_path)
    assert list_splits(name) == ["test_prefs", "train"]
    assert len(list(read_source(name))) == 3
    assert len(list(read_source(name, split="test_prefs"))) == len(list(read_source(f"{name}#test_prefs"))) == 1
    with pytest.raises(UserError, match=r"has no split 'tset'.*test_prefs, train"):
        list(read_source(name, split="tset"))
    with pytest.raises(UserError, match=r"has several splits: .*\. Choose one"):
        choose_split(name, ["a", "b"], "")
    with pytest.raises(UserError, match="is a file without splits"):
        list(read_source(str(folder / "test_prefs.jsonl.gz"), split="train"))
    assert part_split("org/name#test") == ("org/name", "test")
    odd = tmp_path / "a#b.jsonl"
    odd.write_bytes(as_lines(RECORDS))
    assert len(list(read_source(str(odd)))) == 3


SPLITS: dict[str, list[str]] = {
    "default/train/0000.parquet default/train/0001.parquet default/test/0000.parquet": ["test", "train"],
    "default/train_prefs/0000.parquet default/test_prefs/0000.parquet": ["test_prefs", "train_prefs"],
    "train/helpful.jsonl train/harmless.jsonl test/helpful.jsonl": ["test", "train"],
    "train_0.jsonl train_1.jsonl test_0.jsonl": ["test", "train"],
    "shard-00.jsonl shard-01.jsonl": ["train"],
    "en/part-00000.parquet en/part-00001.parquet": ["en"],
    "dataset_infos.json package.json data/train-00000-of-00001.parquet": ["train"],
    "train.JSONL test.Csv.GZ": ["test", "train"],
    "data.jsonl gsm8k_train.jsonl": ["data", "gsm8k_train"],
    "alpaca_1.jsonl alpaca_2.jsonl": ["alpaca_1", "alpaca_2"],
}


@pytest.mark.parametrize("files", SPLITS)
def test_train_and_test_are_never_joined(files: str, tmp_path: Path) -> None:
    """Protects test data: a folder's name decides where the file's name is a number, shards belong together, and a file that
    describes the data set is no split of it."""
    for file in files.split():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(as_lines(RECORDS[:1]))
    assert list_splits(str(tmp_path)) == SPLITS[files]


def test_capitals_in_a_suffix(tmp_path: Path) -> None:
    """Protects `.CSV.GZ`, which is the same kind of file as `.csv.gz`."""
    (tmp_path / "train.CSV.GZ").write_bytes(gzip.compress(as_csv(RECORDS)))
    for name in (tmp_path, tmp_path / "train.CSV.GZ"):
        assert [record["prompt"] for _, record in read_source(str(name)) if isinstance(record, dict)] == [
            'one, "two"\nthree',
            "ünï",
            "3",
        ]


def test_what_datasets_saved(tmp_path: Path) -> None:
    """Protects `save_to_disk`, of one split and of several."""
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list(RECORDS)
    rows.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": rows, "test": rows.select([0])}).save_to_disk(str(tmp_path / "two"))
    assert list_splits(str(tmp_path / "two")) == ["test", "train"]
    for name, count in ((str(tmp_path / "one"), 3), (str(tmp_path / "two"), 3), (f"{tmp_path / 'two'}#test", 1)):
        assert [record for _, record in read_source(name)] == RECORDS[:count]


def test_a_name_on_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Protects hub names, with `datasets` in the hub's place: its splits, one of them by default, and each record's place."""
    datasets, hub = pytest.importorskip("datasets"), pytest.importorskip("huggingface_hub")

    def load(name: str, configuration: str | None, *, data_dir: str | None, split: str) -> list[dict[str, Any]]:
        return [{"prompt": f"{name} {configuration} {split}"}]

    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda name, configuration: ["test", "train"])
    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.chdir(tmp_path)
    assert list(read_source("org/name")) == [("org/name/train:1", {"prompt": "org/name None train"})]
    assert list(read_source("org/name#test")) == [("org/name/test:1", {"prompt": "org/name None test"})]
    assert [record for _, record in read_source("org/name:main")] == [{"prompt": "org/name main train"}]
    for missing in ("org/name.jsonl", "nowhere", "a/b/c"):
        with pytest.raises(UserError, match=f"There is no file {missing}"):
            list(read_source(missing))


def test_parquet_of_messages_and_structs(tmp_path: Path) -> None:
    """Protects verl's parquet, and dialogues in columns: messages are lists of structs there, what other records have is
    null, and a dictionary has every key of the file. They are read as the same records in JSON lines are."""
    user, assistant = ({"role": role, "content": role[0]} for role in ("user", "assistant"))
    verl = [
        {
            "data_source": "gsm8k",
            "prompt": [{"role": "user", "content": f"q{number}"}],
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": f"{number}"},
            "extra_info": {"index": number, "split": "train"},
        }
        for number in range(3)
    ]
    dialogues: list[dict[str, Any]] = [
        {"messages": [user, assistant], "chosen": None, "rejected": None, "label": False},
        {"messages": [user], "chosen": assistant, "rejected": {**assistant, "name": "x"}, "label": None},
    ]
    for name, records in (("verl", verl), ("dialogues", dialogues)):
        (tmp_path / f"{name}.parquet").write_bytes(as_parquet(records))
        (tmp_path / f"{name}.jsonl").write_bytes(as_lines(records))
    read = {
        path.name: [row for _, row in FileReading(tested=True).read_rows(read_source(str(path)))]
        for path in sorted(tmp_path.iterdir())
    }
    assert read["verl.parquet"] == read["verl.jsonl"] and read["dialogues.parquet"] == read["dialogues.jsonl"]
    problems = [row.prompt for row in read["verl.parquet"]]
    assert [problem.turns[-1].content for problem in problems] == ["q0", "q1", "q2"]
    assert all(
        isinstance(problem, Problem) and problem.hidden_tests == (Test(None, f"{number}"),)
        for number, problem in enumerate(problems)
    )
    bad, pair = read["dialogues.parquet"]
    assert (bad.answer, bad.rejected and bad.rejected.text, bad.rated) == (None, "a", True)
    assert (pair.answer and pair.answer.text, pair.rejected and pair.rejected.text) == ("a", "a")
