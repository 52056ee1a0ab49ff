"""A study's directory: what `--fresh` deletes, and whose the directory is."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from preflab.arm.spec import saved_models
from preflab.cli import main
from preflab.errors import UserError
from preflab.spec import Context, parse_spec
from preflab.study.directory import (
    REPORT_FILES,
    claim_study,
    read_manifest_file,
    read_study,
    refuse_other_study,
    remove_study,
    withdrawn_unless_begun,
    write_study,
)
from preflab.study.results.subjects import read_first_paragraph
from preflab.study.spec import Study
from preflab.train.sealed import write_sealed

MANIFEST = {"format": 1, "spec": {}}


PLAIN: dict[str, Any] = {"name": "gap", "testbed": "minicode", "arms": {"b": {}, "a": {}}}
EVALUATORS = '''
from preflab.evaluation.base import EvaluatorSpec
from preflab.evaluation.measure import Measure
from preflab.evaluation.pairwise import PairwiseEvaluatorSpec

class Mine(EvaluatorSpec):
    """Short answers."""
    words: int
    def measures(self, evaluation): return (Measure(name="short", share=True, better="higher"),)
    def saved_models(self): return ("runs/rm/final",)
    def open(self, context): ...

class Duel(PairwiseEvaluatorSpec):
    """The shorter
    answer wins.

    More."""
    measure = Measure(name="win rate", label="duels won", share=True, better="higher")
    def open(self, context): ...
'''


def study(name: str = "gap") -> Study:
    return parse_spec(Study, {**PLAIN, "name": name, "evaluator": "hidden-tests"}, where="test")


def make_run(directory: Path) -> None:
    """What a study and its run leave in a run's directory."""
    (directory / "final").mkdir(parents=True)
    write_sealed(directory / "manifest.json", MANIFEST)
    for name in ("lock", "run.log", "run.json", "metrics.jsonl", "final/model.safetensors", "final/trained_on.json"):
        (directory / name).write_text("")


def files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_fresh_deletes_what_the_manifest_lists(tmp_path: Path) -> None:
    """Protects the user's own: directories and files that look like the study's, and files inside its runs, stay."""
    listed = [tmp_path / "seed-0/a", tmp_path / "seed-0/stages/sft", tmp_path / "tuning/seed-1/a.0"]
    claim_study(study(), tmp_path, listed)
    for place in (*listed, tmp_path / "seed-7/mine"):
        make_run(place)
    (tmp_path / "seed-0/a/notes.txt").write_text("mine")
    (tmp_path / "seed-crystals").mkdir()
    (tmp_path / "seed-crystals/photo.jpg").write_text("mine")
    (tmp_path / "tuning/guitar.txt").write_text("mine")
    for name in REPORT_FILES:
        (tmp_path / name).write_text("")
    remove_study(tmp_path, [tmp_path / "seed-0/a"])
    left = files(tmp_path)
    assert [name for name in left if name.startswith("seed-7")] == [
        "seed-7",
        "seed-7/mine",
        *(f"seed-7/mine/{name}" for name in ("final", "final/model.safetensors", "final/trained_on.json")),
        *(f"seed-7/mine/{name}" for name in ("lock", "manifest.json")),
        *(f"seed-7/mine/{name}" for name in ("metrics.jsonl", "run.json", "run.log")),
    ]
    own = [name for name in left if not name.startswith("seed-7")]
    assert own == [
        *("seed-0", "seed-0/a", "seed-0/a/notes.txt"),
        *("seed-crystals", "seed-crystals/photo.jpg", "tuning", "tuning/guitar.txt"),
    ]


def test_fresh_in_a_directory_without_a_study(tmp_path: Path) -> None:
    """Nothing is deleted: where there are runs that the study would take, this is said."""
    (tmp_path / "seed-0").mkdir()
    (tmp_path / "report.html").write_text("mine")
    remove_study(tmp_path, [tmp_path / "seed-0/a"])
    make_run(tmp_path / "seed-0/a")
    before = files(tmp_path)
    with pytest.raises(UserError, match=r"no study\.json, so --fresh cannot know"):
        remove_study(tmp_path, [tmp_path / "seed-0/a"])
    assert files(tmp_path) == before
    with pytest.raises(UserError, match=r"report\.html was not written by a study"):
        claim_study(study(), tmp_path, [])
    assert not (tmp_path / "study.json").exists()


def test_fresh_names_a_foreign_file_in_a_run_first(tmp_path: Path) -> None:
    """Protects notes beside a model of a study: no run is deleted before they are named."""
    runs = [tmp_path / "seed-0/a", tmp_path / "seed-0/b"]
    claim_study(study(), tmp_path, runs)
    for place in runs:
        make_run(place)
        (place / "checkpoints").mkdir()
    for place in runs:
        (place / "checkpoints/mine.txt").write_text("mine")
        before = files(tmp_path)
        with pytest.raises(UserError, match=r"checkpoints/mine\.txt was not written by a run"):
            remove_study(tmp_path, [])
        assert files(tmp_path) == before
        (place / "checkpoints/mine.txt").unlink()


def test_fresh_stays_in_its_directory(tmp_path: Path) -> None:
    """Protects from a manifest that lists what lies outside, by a relative and by an absolute path."""
    outside = tmp_path / "elsewhere"
    make_run(outside)
    (tmp_path / "study").mkdir()
    data = {"format": 1, "study": study().model_dump(mode="json"), "runs": ["../elsewhere", str(outside)]}
    write_sealed(tmp_path / "study/study.json", data)
    before = files(outside)
    remove_study(tmp_path / "study", [])
    assert files(outside) == before


def test_the_list_grows_with_the_study(tmp_path: Path) -> None:
    """More seeds are listed too, and what was listed stays; arms keep their order, and the command and failures are kept."""
    claim_study(study(), tmp_path, [tmp_path / "seed-0/a"])
    claim_study(study(), tmp_path, [tmp_path / "seed-1/a"])
    write_study(study(), tmp_path, "preflab study gap", ["a failed"])
    assert json.loads((tmp_path / "study.json").read_text())["runs"] == ["seed-0/a", "seed-1/a"]
    record = read_study(tmp_path)
    assert list(record.study.arms) == ["b", "a"]
    assert (record.command, record.failures) == ("preflab study gap", ("a failed",))


def test_a_report_needs_no_module_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest records what the user's evaluators measure, their docstrings and the models that they use. If an
    older manifest has no such record, the message names the missing module."""
    (tmp_path / "gone.py").write_text(EVALUATORS)
    monkeypatch.syspath_prepend(str(tmp_path))
    own = {"mine": {"kind": "gone:Mine", "words": 4}, "hidden-tests": "hidden-tests"}
    pairwise = {"duel": {"evaluator": "gone:Duel", "against": "b"}}
    made = parse_spec(Study, {**PLAIN, "evaluators": own, "pairwise": pairwise, "headline": "short"}, where="")
    directory = tmp_path / "study"
    directory.mkdir()
    claim_study(made, directory, [])
    monkeypatch.delitem(sys.modules, "gone")
    (tmp_path / "gone.py").unlink()
    read = read_study(directory).study
    assert read.measures == made.measures and (read.score, list(read.evaluators)) == ("short", list(own))
    assert saved_models(read.evaluators["mine"]) == ("runs/rm/final",)
    assert read.pairwise["duel"].evaluator.measure.label == "duels won"
    assert read_first_paragraph(type(read.pairwise["duel"].evaluator)) == "The shorter answer wins."
    with pytest.raises(UserError, match="To measure, give the study file"):
        read.evaluators["mine"].open(Context())
    manifest = read_manifest_file(directory).model_dump(mode="json", exclude={"own"})
    write_sealed(directory / "study.json", manifest)
    with pytest.raises(UserError, match="'gone:Mine' does not load: there is no module 'gone'"):
        read_study(directory)


def test_a_runs_directory_is_refused(tmp_path: Path) -> None:
    """A study named `gap` and `train --output runs/gap` do not share a directory."""
    make_run(tmp_path)
    for refuse in (lambda: refuse_other_study(study(), tmp_path), lambda: claim_study(study(), tmp_path, [])):
        with pytest.raises(UserError, match="contains a run"):
            refuse()
    assert not (tmp_path / "study.json").exists()


def test_a_refused_study_leaves_its_directory_free(tmp_path: Path) -> None:
    """Where none of its runs has done anything, a study of another name may have the directory; else it is the study's."""
    claim_study(study(), tmp_path, [tmp_path / "seed-0/a"])
    with pytest.raises(UserError), withdrawn_unless_begun(tmp_path):
        raise UserError("no such model")
    claim_study(study("other"), tmp_path, [tmp_path / "seed-0/a"])
    make_run(tmp_path / "seed-0/a")
    with pytest.raises(UserError), withdrawn_unless_begun(tmp_path):
        raise UserError("no such model")
    with pytest.raises(UserError, match="contains another study, 'other'"):
        claim_study(study(), tmp_path, [])


@pytest.mark.parametrize("content", ["[]", "{", "5", "[" * 100_000, '{"format": 1, "study": []}', "\0" * 40])
def test_a_damaged_manifest_is_one_line_and_deletes_nothing(tmp_path: Path, content: str) -> None:
    """Whichever command reads it."""
    make_run(tmp_path / "seed-0/a")
    (tmp_path / "study.json").write_text(content)
    before = files(tmp_path)
    for read in (
        lambda: read_study(tmp_path),
        lambda: refuse_other_study(study(), tmp_path),
        lambda: remove_study(tmp_path, [tmp_path / "seed-0/a"]),
    ):
        with pytest.raises(UserError, match=r"study\.json is ") as refused:
            read()
        assert len(f"{refused.value}".splitlines()) == 1
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    "words", [("study", "smoke"), ("study", "smoke", "--fresh"), ("train", "sft", "--no-evaluate")]
)
def test_a_read_only_output_is_one_line_for_a_user(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a user who is not root, by the whole command: a directory of another's, and a place in it, are refused in one line,
    and nothing is left there. The child is forked from a process that has imported what it needs, as the interpreter's own
    files may be out of the user's reach."""
    if os.geteuid() != 0:
        pytest.skip("needs the right to become another user (root)")
    with pytest.raises(SystemExit):
        main([*words, "--output", "/dev/null/x"])  # imports
    capsys.readouterr()
    with tempfile.TemporaryDirectory() as home:
        (there := Path(home) / "there").mkdir()
        for path in (Path(home), there):
            path.chmod(0o755)
        for place in (there, there / "new"):
            with (tmp_path / "log").open("w") as log:
                child = os.fork()
                if child == 0:
                    _become_nobody([*words, "--output", str(place)], log.fileno())
            _, status = os.waitpid(child, 0)
            said = (tmp_path / "log").read_text()
            assert (os.waitstatus_to_exitcode(status), said) == (
                2,
                f"preflab: {place} cannot be written: Permission denied. Choose another --output.\n",
            )
        assert files(Path(home)) == ["there"]


def _become_nobody(words: list[str], descriptor: int) -> None:
    """What the child does; it never returns."""
    code = 1
    try:
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        os.setgid(65534)
        os.setuid(65534)
        main(words)
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
