"""Finished runs travel in one file: what the file holds, what a study takes from it, and what is refused."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from tests.study.results.test_make import study

from preflab.arm.origin import code_of
from preflab.errors import UserError
from preflab.study.archive import Archive, export_runs
from preflab.study.directory import claim_study
from preflab.study.plan import planned_runs
from preflab.study.runner import runs_to_do
from preflab.study.spec import Study
from preflab.train.directory import RESULT, RUN_FORMAT, RUN_MANIFEST
from preflab.train.finished import checksums
from preflab.train.sealed import write_sealed


def finish(whole: Study, home: Path, arms: set[str]) -> None:
    """Writes finished runs of these arms under every seed, with files that an archive leaves out."""
    planned = list(planned_runs(whole, home))
    home.mkdir()
    for run in planned:
        if run.name not in arms:
            continue
        spec = run.spec.model_dump(mode="json")
        (run.directory / "final").mkdir(parents=True)
        write_sealed(run.directory / RUN_MANIFEST, {"format": RUN_FORMAT, "spec": spec, "code": code_of(spec)})
        (run.directory / "metrics.jsonl").write_text('{"step": 1}\n')
        result = {"diverged": None, "counts": {"flops": float(run.seed)}, "files": checksums(run.directory)}
        write_sealed(run.directory / RESULT, result)
        (run.directory / "final" / "model.safetensors").write_bytes(b"weights")
        (run.directory / "samples.jsonl").write_text("{}\n")
    claim_study(whole, home, [run.directory for run in planned])


def test_a_study_goes_on_with_the_runs_of_an_archive(tmp_path: Path) -> None:
    """Protects work from being lost: exported runs count as done in another directory, byte for byte, without the weights.
    The same runs give the same archive."""
    whole = study()
    finish(whole, tmp_path / "here", {"sft", "ppo", "dpo"})
    file, again = tmp_path / "runs.tar.xz", tmp_path / "again.tar.xz"
    assert export_runs(tmp_path / "here", file) == export_runs(tmp_path / "here", again) == 4 * whole.seeds
    assert file.read_bytes() == again.read_bytes()
    planned, archive = list(planned_runs(whole, tmp_path / "there")), Archive(file)
    archive.restore(planned, tmp_path / "there")
    assert len(archive.taken) == 4 * whole.seeds
    assert {run.name for run in runs_to_do(planned)}.isdisjoint({"sft", "ppo", "dpo"})
    place = tmp_path / "there" / "seed-1" / "ppo"
    assert {path.name for path in place.iterdir()} == {RUN_MANIFEST, RESULT, "metrics.jsonl"}
    assert (place / RESULT).read_bytes() == (tmp_path / "here" / "seed-1" / "ppo" / RESULT).read_bytes()


def test_the_order_of_the_runs_does_not_matter(tmp_path: Path) -> None:
    """Protects studies whose evaluator is a stage further down in the file: SFT waits for it, and comes before it."""
    whole = study()
    finish(whole, tmp_path / "here", {"sft", "ppo", "dpo"})
    export_runs(tmp_path / "here", tmp_path / "runs.tar.xz")
    archive = Archive(tmp_path / "runs.tar.xz")
    archive.restore(list(planned_runs(whole, tmp_path / "there"))[::-1], tmp_path / "there")
    assert len(archive.taken) == 4 * whole.seeds


def test_runs_with_other_settings_are_left_out(tmp_path: Path) -> None:
    """Protects from results of another study: a run whose settings changed runs again, and a run that exists is kept."""
    finish(study(), tmp_path / "here", {"sft", "ppo", "dpo"})
    export_runs(tmp_path / "here", tmp_path / "runs.tar.xz")
    other = study(looks=7)
    finish(other, tmp_path / "there", {"dpo"})
    kept = (tmp_path / "there" / "seed-0" / "dpo" / RUN_MANIFEST).read_bytes()
    archive = Archive(tmp_path / "runs.tar.xz")
    archive.restore(list(planned_runs(other, tmp_path / "there")), tmp_path / "there")
    assert archive.taken == []
    assert archive.describe().endswith("or plans them with other settings or stages.")
    assert not (tmp_path / "there" / "seed-0" / "ppo").exists()
    assert (tmp_path / "there" / "seed-0" / "dpo" / RUN_MANIFEST).read_bytes() == kept


def test_a_run_is_left_out_if_its_stage_is_another(tmp_path: Path) -> None:
    """Protects the pairing of arms: the arms' own settings are equal, but the stage from which they start has another
    learning rate, so that none of them is taken. Neither are arms whose stage was trained again here."""
    finish(study(), tmp_path / "here", {"sft", "ppo", "dpo"})
    export_runs(tmp_path / "here", tmp_path / "runs.tar.xz")
    other = study(stages={"sft": {"method": {"kind": "sft", "epochs": 77}}})
    archive = Archive(tmp_path / "runs.tar.xz")
    archive.restore(list(planned_runs(other, tmp_path / "there")), tmp_path / "there")
    assert archive.taken == []
    finish(study(), tmp_path / "again", {"sft"})
    result = tmp_path / "again" / "seed-0" / "stages" / "sft" / RESULT
    write_sealed(result, {"diverged": None, "counts": {"flops": 7.0}})
    archive.restore(list(planned_runs(study(), tmp_path / "again")), tmp_path / "again")
    assert {name.split("/")[0] for name in archive.taken} == {"seed-1", "seed-2", "seed-3", "seed-4"}


def test_a_damaged_run_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    """Protects the directory: a training curve that does not match its checksum is named, and nothing of it is written."""
    finish(study(), tmp_path / "here", {"sft"})
    (tmp_path / "here" / "seed-0" / "stages" / "sft" / "metrics.jsonl").write_text('{"step": 2}\n')
    export_runs(tmp_path / "here", tmp_path / "runs.tar.xz")
    with pytest.raises(UserError, match=r"runs\.tar\.xz: `metrics\.jsonl` of the run sft"):
        Archive(tmp_path / "runs.tar.xz").restore(list(planned_runs(study(), tmp_path / "there")), tmp_path / "there")
    assert list((tmp_path / "there").rglob("*.json*")) == []


@pytest.mark.parametrize(("file", "content"), [(RUN_MANIFEST, "{"), (RESULT, "[]"), (RESULT, '{"files": "x"}')])
def test_a_damaged_record_is_said_to_be_in_the_archive(file: str, content: str, tmp_path: Path) -> None:
    """Protects from advice to repair a directory that is gone again, and from a traceback about checksums of another form:
    the message names the archive, the file and the run."""
    finish(study(), tmp_path / "here", {"sft"})
    (tmp_path / "here" / "seed-0" / "stages" / "sft" / file).write_text(content)
    export_runs(tmp_path / "here", tmp_path / "runs.tar.xz")
    with pytest.raises(UserError, match=r"runs\.tar\.xz: `manifest\.json` or `result\.json` of the run sft \(seed 0\)"):
        Archive(tmp_path / "runs.tar.xz").restore(list(planned_runs(study(), tmp_path / "there")), tmp_path / "there")
    assert list((tmp_path / "there").rglob("*.json*")) == []


@pytest.mark.parametrize("name", ["../result.json", "/etc/result.json", "seed-0/ppo/evil.py"])
def test_an_archive_from_elsewhere_writes_only_runs(name: str, tmp_path: Path) -> None:
    """Protects the user's files from an archive that names other places or other files."""
    file = tmp_path / "evil.tar.xz"
    with tarfile.open(file, "w:xz") as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(UserError, match="is not an archive of runs"):
        Archive(file)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    """A missing file, another file and a cut archive are named in one sentence, and so is a study without a finished run."""
    file = tmp_path / "runs.tar.xz"
    with pytest.raises(UserError, match="There is no file"):
        Archive(file)
    file.write_text("hello")
    with pytest.raises(UserError, match="cannot be read as an archive of runs"):
        Archive(file)
    finish(study(), tmp_path / "here", {"ppo"})
    export_runs(tmp_path / "here", file)
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UserError, match="cannot be read as an archive of runs"):
        Archive(file)
    finish(study(), tmp_path / "empty", set())
    with pytest.raises(UserError, match="no run has finished"):
        export_runs(tmp_path / "empty", file)


def test_the_archives_folder_is_made(tmp_path: Path) -> None:
    """Protects a first export into a new folder; a folder that cannot be made is one sentence."""
    finish(study(), tmp_path / "here", {"ppo"})
    file = tmp_path / "new" / "folder" / "runs.tar.xz"
    assert export_runs(tmp_path / "here", file) > 0 and file.exists()
    with pytest.raises(UserError, match=r"runs\.tar\.xz.* cannot be used: .*choose another place for the output"):
        export_runs(tmp_path / "here", file / "deeper" / "runs.tar.xz")
