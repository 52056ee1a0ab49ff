"""`preflab data check`: what it counts, shows, writes and refuses, as its user sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.models.conftest import CHATML, save_chat
from tests.models.test_template import THINKING

from preflab.models.refusal import REWRITTEN
from preflab.train.sealed import write_sealed

from .running import run

PAIRS: list[Any] = [
    {"prompt": "one", "chosen": "a longer answer", "rejected": "short", "source": "x"},
    {"prompt": "two", "chosen": "same", "rejected": "same"},
    {"prompt": "three", "chosen": "", "rejected": "b"},
    {"prompt": "one", "chosen": "a longer answer", "rejected": "short", "source": "x"},
    {"prompt": "four", "chosen": "c", "rejected": "d"},
    {"prompt": "four", "chosen": "d", "rejected": "c"},
    {"prompt": [{"role": "user", "content": "q"}], "chosen": [{"role": "user", "content": "e"}], "rejected": "f"},
    {"chosen": [{"role": "user", "content": "u"}], "rejected": [{"role": "user", "content": "v"}]},
    {"prompt": "five", "chosen": "x", "rejected": "a longer answer"},
    {"prompt": "six", "chosen": "gg", "rejected": "h"},
]


def write(path: Path, records: list[Any], *more: str) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + "".join(line + "\n" for line in more))
    return path


def check(*words: str | Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code, out, _ = run("data", "check", *words, "--json", capsys=capsys)
    return code, json.loads(out)


def test_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects every count, worked out by hand: of 12 records one is no JSON, one has no known field, two are useless; of the
    eight others one repeats, one has equal answers, one an empty one, two say the opposite of each other. Unequal lengths:
    the longer answer wins in 3 (one, one again, six) of 5 pairs (also three and five); of 8 pairs "the longer" gets 3 + 3/2."""
    path = write(tmp_path / "a.jsonl", PAIRS, '{"prompt": ', '{"promt": "x"}')
    code, record = check(path, capsys=capsys)
    [source] = record["sources"]
    assert code == 0 and record["leaks"] == [] and source["source"] == str(path)
    assert (source["records"], source["usable"], source["flawless"]) == (12, 8, 3)
    assert source["shapes"] == {"preference": 8} and source["unread"] == {"source": 2}
    assert source["kinds"] == {"prompts": 6, "demonstrations": 8, "pairs": 8}
    assert source["broken"] == {"count": 2, "first": [f"{path}:11", f"{path}:12"]}
    assert source["first_broken"].startswith(f"{path}:11 is not JSON")
    assert source["faults"] == {
        "chosen and rejected are the same": {"count": 1, "first": [f"{path}:2"]},
        "an answer is empty": {"count": 1, "first": [f"{path}:3"]},
        "it repeats an earlier record": {"count": 1, "first": [f"{path}:4"]},
        "another record says the opposite": {"count": 2, "first": [f"{path}:6"]},
        "the two prompts differ": {"count": 1, "first": [f"{path}:7"]},
        "a dialogue ends in a human turn": {"count": 1, "first": [f"{path}:8"]},
    }
    assert (source["longer_wins"], source["length_only_accuracy"]) == (3 / 5, 4.5 / 8)
    assert source["turns"] == {"1": 6} and source["unit"] == "characters" and source["truncated"] is None
    assert source["prompt_lengths"] == {
        "smallest": 3,
        "median": 3,
        "p90": 4,
        "largest": 5,
        "histogram": {"4": 4, "8": 4},
    }


def test_what_people_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects the page: shape, counts, faults with their places, a histogram, the first record and how it is read; escape
    sequences of a terminal in the data do nothing."""
    odd = {"prompt": "clear \x1b[2J screen", "chosen": "a", "rejected": "b"}
    code, out, _ = run("data", "check", write(tmp_path / "a.jsonl", [odd, *PAIRS]), capsys=capsys)
    assert code == 0 and "\x1b" not in out
    for words in (
        "11 records, 9 usable, 4 without a fault",
        "shape: 9 preference",
        "1 × it repeats an earlier record",
        "the longer answer is chosen in 60.0%",
        "note: Fields that are not read: `source`.",
        "user: clear ⟨U+001B⟩[2J screen",
        "chosen: a",
        "█",
    ):
        assert words in out


def test_one_is_not_plural(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects the words: one record holds 1 prompt."""
    path = write(tmp_path / "a.jsonl", [{"prompt": "one", "chosen": "a", "rejected": "b"}])
    _, out, _ = run("data", "check", path, capsys=capsys)
    assert "holds: 1 prompt, 1 demonstration, 1 pair\n" in out


def test_fix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects `--fix`: what it writes has no fault when it is checked again, contradictions go with both of their sides, what
    went is listed with its reason, and no file is overwritten."""
    path, out = write(tmp_path / "a.jsonl", PAIRS, "nonsense"), tmp_path / "clean.jsonl"
    code, record = check(path, "--fix", out, capsys=capsys)
    assert code == 0 and record["fix"]["written"] == 3
    places = [row["where"].removeprefix(f"{path}:") for row in record["fix"]["dropped"]]
    assert places == ["2", "3", "4", "5", "6", "7", "8", "11"]
    assert "says the opposite" in record["fix"]["dropped"][3]["reason"]
    assert [json.loads(line) for line in out.read_text().splitlines()] == [PAIRS[0], PAIRS[8], PAIRS[9]]
    _, again = check(out, capsys=capsys)
    assert again["sources"][0]["faults"] == {} and again["sources"][0]["flawless"] == 3
    code, _, err = run("data", "check", path, "--fix", out, capsys=capsys)
    assert code == 2 and "already exists. Give the name of a new file" in err
    code, text, _ = run("data", "check", path, "--fix", tmp_path / "more.jsonl", capsys=capsys)
    assert "3 records written, 8 dropped" in text and f"{path}:4: it repeats an earlier record" in text


RATED = {"prompt": "q", "completion": "a"}
CHOICE = {"prompt": "q", "response_1": "a", "response_2": "b"}


@pytest.mark.parametrize(
    ("records", "flawless"),
    [
        ([{**RATED, "label": True}, {**RATED, "label": False}], 0),
        ([{**RATED, "label": True}, {**RATED, "label": False}, {**RATED, "label": True}], 0),
        ([{**RATED, "label": True}, {**RATED, "label": True}, {**RATED, "prompt": "r", "label": False}], 2),
        ([{**CHOICE, "preference": 1}, {**CHOICE, "preference": 2}], 0),
    ],
)
def test_fix_writes_what_the_check_counts(
    records: list[Any], flawless: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects from two counts of one file, and from an empty "clean" file that a script takes for a success."""
    path, out = write(tmp_path / "a.jsonl", records), tmp_path / "b.jsonl"
    code, record = check(path, "--fix", out, capsys=capsys)
    assert record["sources"][0]["flawless"] == record["fix"]["written"] == flawless
    assert code == (0 if flawless else 2) and out.exists() == bool(flawless)
    if not flawless:
        _, text, err = run("data", "check", path, "--fix", out, capsys=capsys)
        assert f"{out} is not written: no record is left" in text and "says the opposite" in err


def test_fix_writes_nothing_that_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects choices of 0 and 1, whose meaning hangs on a record with a 2 that is left out: no file claims to be clean."""
    records = [{**CHOICE, "prompt": f"{n}", "preference": n} for n in range(3)]
    path, out = write(tmp_path / "a.jsonl", [*records[:2], {**records[2], "response_1": ""}]), tmp_path / "b.jsonl"
    code, _, err = run("data", "check", path, "--fix", out, capsys=capsys)
    assert code == 2 and "is not written: without the faulty records" in err and "whether 0 is a tie" in err
    assert not out.exists()


@pytest.mark.parametrize("name", ["c.csv", "c.jsonl.gz", "c.parquet", "c.json", "c"])
def test_fix_writes_only_what_its_name_promises(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects the next command, which would read JSON lines in a `.csv` as one broken table."""
    code, _, err = run("data", "check", write(tmp_path / "a.jsonl", PAIRS), "--fix", tmp_path / name, capsys=capsys)
    assert code == 2 and "Give a file name that ends in `.jsonl`" in err and not (tmp_path / name).exists()


def test_an_id_of_two_prompts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects `train`, which refuses an id of two prompts: the check counts it, and `--fix` leaves the later one out."""
    same = {"id": "a", "prompt": "one", "chosen": "x", "rejected": "y"}
    records = [same, {**same, "chosen": "z"}, {**same, "prompt": "two"}, {**same, "level": "hard"}]
    path, out = write(tmp_path / "a.jsonl", records), tmp_path / "b.jsonl"
    code, record = check(path, "--fix", out, capsys=capsys)
    fault = "an earlier record has the same id but another prompt, level or tests"
    assert code == 0 and record["sources"][0]["flawless"] == 2
    assert record["sources"][0]["faults"][fault] == {"count": 2, "first": [f"{path}:3", f"{path}:4"]}
    assert [json.loads(line)["chosen"] for line in out.read_text().splitlines()] == ["x", "z"]


def test_your_fields_are_renamed_by_fix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects `--fields`: the clean file has the names that preflab reads."""
    path = write(tmp_path / "a.jsonl", [{"q": "one", "pair": {"good": "a", "bad": "b"}}])
    code, _, err = run("data", "check", path, capsys=capsys)
    assert code == 2 and "neither `prompt` nor `messages`" in err
    fields = ("--fields", "prompt=q", "chosen=pair.good", "rejected=pair.bad")
    code, record = check(path, *fields, "--fix", tmp_path / "b.jsonl", capsys=capsys)
    assert code == 0 and record["sources"][0]["kinds"]["pairs"] == 1
    assert json.loads((tmp_path / "b.jsonl").read_text()) == {"prompt": "one", "chosen": "a", "rejected": "b"}


def test_a_field_is_ignored_by_null(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects the advice of messages, which write `null` for a field that is to be ignored."""
    path = write(tmp_path / "a.jsonl", [{"prompt": "one", "completion": "a", "label": "greeting"}])
    for word in ("label=null", "label="):
        code, record = check(path, "--fields", word, capsys=capsys)
        assert code == 0 and record["sources"][0]["kinds"] == {"prompts": 1, "demonstrations": 1}


def test_leaks_between_files_and_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects test data: prompts that stand in two files, or in two splits of a folder, are counted."""
    for name, numbers in (("train", range(5)), ("test", range(3, 9))):
        write(tmp_path / f"{name}.jsonl", [{"prompt": f"{n}", "completion": name} for n in numbers])
    _, files = check(tmp_path / "train.jsonl", tmp_path / "test.jsonl", capsys=capsys)
    assert files["leaks"] == [[str(tmp_path / "train.jsonl"), str(tmp_path / "test.jsonl"), 2]]
    _, folder = check(tmp_path, capsys=capsys)
    assert folder["leaks"] == [[f"{tmp_path}#test", f"{tmp_path}#train", 2]]
    code, one = check(tmp_path, "--split", "test", "--rows", "4", capsys=capsys)
    assert code == 0 and [source["records"] for source in one["sources"]] == [4]
    _, out, _ = run("data", "check", tmp_path, capsys=capsys)
    assert f"leak: 2 prompts of {tmp_path}#test also found in {tmp_path}#train" in out


def test_in_the_tokens_of_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects `--model`: lengths are its tokens, the first row is shown with its special tokens, and what is longer than its
    context is counted (tiny's is 128 tokens)."""
    long = {"prompt": "one " * 300, "chosen": "a", "rejected": "b"}
    path = write(tmp_path / "a.jsonl", [{"prompt": "one", "chosen": "a", "rejected": "b"}, long])
    code, record = check(path, "--model", "tiny", capsys=capsys)
    [source] = record["sources"]
    assert code == 0 and source["unit"] == "tokens" and source["truncated"] == 0.5
    assert source["prompt_lengths"]["largest"] > source["prompt_lengths"]["smallest"]
    _, out, _ = run("data", "check", path, "--model", "tiny", capsys=capsys)
    assert "longer than the model's context: 50.0%" in out and 'prompt: "one<sep>"' in out


def test_a_row_that_the_chat_template_does_not_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects data with system turns: where the model's template takes none, the counts come all the same if the first
    record has one, the first row that is taken is shown, and `--fix` leaves the others out."""
    model = save_chat(
        tmp_path / "m", "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
    )
    system: dict[str, Any] = {"system": "Be brief.", "prompt": "q1", "chosen": "a", "rejected": "b"}
    path = write(tmp_path / "a.jsonl", [system, {**system, "system": None, "prompt": "q2"}, {**system, "prompt": "q3"}])
    capsys.readouterr()  # what saving the model prints
    code, out, err = run("data", "check", path, "--model", model, "--fix", tmp_path / "b.jsonl", capsys=capsys)
    assert (code, err) == (0, "")
    assert (
        "3 usable, 1 without a fault" in out
        and f"2 × the model's chat template does not accept it ({path}:1, {path}:3)" in out
    )
    assert 'prompt: "<|im_start|>user\\nq2<|im_end|>' in out
    assert f"1 record written, 2 dropped\n  {path}:1: the model's chat template does not accept it" in out
    thinking = save_chat(tmp_path / "t", THINKING, plain=("<think>", "</think>"))
    write(
        path,
        [{"prompt": "q1", "completion": "<think>\\nhm\\n</think>\\n\\nyes"}, {"prompt": "q2", "completion": "yes"}],
    )
    code, out, _ = run("data", "check", path, "--model", thinking, capsys=capsys)
    assert code == 0 and "2 usable, 1 without a fault" in out and f"1 × {REWRITTEN} ({path}:1)" in out
    write(path, [system])
    code, out, err = run("data", "check", path, "--model", model, capsys=capsys)
    assert code == 2 and "system: Be brief." in out and "the model's chat template does not accept it" in err


def test_an_altered_model_of_a_run_measures_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects `--model RUN/final`: lengths by a tokenizer that was changed after the run are not given."""
    path, run_directory = write(tmp_path / "a.jsonl", PAIRS), tmp_path / "run"
    tokenizer = run_directory / "final" / "tokenizer.json"
    tokenizer.parent.mkdir(parents=True)
    tokenizer.write_text("{}")
    write_sealed(run_directory / "manifest.json", {"format": 1, "spec": {}})
    files = {"final/tokenizer.json": "0" * 64}
    write_sealed(run_directory / "result.json", {"diverged": None, "counts": {}, "files": files})
    code, _, err = run("data", "check", path, "--model", tokenizer.parent, capsys=capsys)
    assert code == 2 and f"{tokenizer} is missing or was changed after the run" in err


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ([{"promt": "x"}], "neither `prompt` nor `messages`"),
        ([{"prompt": "x", "chosen": "a", "rejected": "a"}], "chosen and rejected are the same"),
        ([{"prompt": "x", "completion": "", "label": True}], "an answer is empty"),
        ([{"prompt": "x", "completion": "a", "label": 3}], "says neither good nor bad"),
        (
            [{"prompt": "x", "completion": "a", "label": label} for label in (0, -1)],
            "it is not clear which of these two labels means bad",
        ),
    ],
)
def test_nothing_usable(records: list[Any], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects scripts: exit code 2 and the reason where no record is of use, or where its labels could mean the opposite."""
    code, _, err = run("data", "check", write(tmp_path / "a.jsonl", records), capsys=capsys)
    assert code == 2 and reason in err


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects the user from a traceback: what is not there, is a testbed, or is not meant so."""
    path = write(tmp_path / "a.jsonl", PAIRS)
    write(tmp_path / "b.jsonl", PAIRS)
    for words, complaint in (
        ((tmp_path / "absent.jsonl",), "There is no file"),
        (("minicode",), "`preflab data show minicode`"),
        ((path, "--rows", "0"), "--rows must be 1 or more"),
        ((path, "--split", "train"), "is a file without splits"),
        ((path, "--fields", "prompt"), "is not FIELD=NAME"),
        ((path, "--fields", "prompt=question", "prompt=label"), "--fields names 'prompt' twice"),
        ((path, "--fields", "promt=x"), "Did you mean 'prompt'"),
        ((path, "--fields", "prompt=nowhere"), "'nowhere', but no record has this field"),
        ((tmp_path, "--fix", tmp_path / "c.jsonl"), "--fix needs a single source"),
        ((path, "--fix", tmp_path / "no" / "c.jsonl"), "cannot be written"),
    ):
        code, _, err = run("data", "check", *words, capsys=capsys)
        assert code == 2 and complaint in err, (words, err)


def test_no_torch_without_a_model(tmp_path: Path) -> None:
    """Protects the seconds: a check loads neither torch nor transformers."""
    path = write(tmp_path / "a.jsonl", PAIRS)
    program = (
        f"import sys\nfrom preflab.cli import run_command\nrun_command(['data', 'check', {str(path)!r}])\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'datasets')))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120).returncode == 0


STREAMED = """
import resource, sys, time
from preflab.cli import run_command
code = run_command(["data", "check", sys.argv[1], "--json"])
seconds, peak = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # in MB
print(f"{seconds:.1f} s, {peak:.0f} MB", file=sys.stderr)
sys.exit(code or "torch" in sys.modules or seconds >= 60 or peak >= 1000)
"""


@pytest.mark.slow
def test_two_hundred_thousand_pairs_are_streamed(tmp_path: Path) -> None:
    """Protects the minute and the memory of whoever checks a large file: 200,000 pairs of 800 letters an answer (some 330 MB)
    in under 60 s of a core and 1 GB, without torch. Every tenth pair repeats the one before it, and the longer answer wins
    where the prompt's number is odd, as 1, 3, 5 and 7 of ten are."""
    path, text = tmp_path / "a.jsonl", "words of an answer " * 42
    with path.open("w", encoding="utf-8") as file:
        for number in range(200_000):
            ask = number - (number % 10 == 9)
            sides = (f"{text}{ask} longer", f"{text}{ask}")[:: 1 if ask % 2 else -1]
            file.write(json.dumps({"prompt": f"{ask} ?", "chosen": sides[0], "rejected": sides[1]}) + "\n")
    done = subprocess.run([sys.executable, "-c", STREAMED, str(path)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    [source] = json.loads(done.stdout)["sources"]
    assert (source["records"], source["usable"], source["flawless"]) == (200_000, 200_000, 180_000)
    assert source["kinds"] == {"prompts": 180_000, "demonstrations": 200_000, "pairs": 200_000}
    assert source["faults"]["it repeats an earlier record"]["count"] == 20_000
    assert source["longer_wins"] == 80_000 / 200_000
