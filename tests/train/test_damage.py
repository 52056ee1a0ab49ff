"""Damaged run directories: what a resume reads is the run's own, or it is named, and the newest intact state is used."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from preflab.arm.origin import code_of
from preflab.errors import UserError
from preflab.train.checkpoint import TENSORS, VALUES
from preflab.train.directory import claim, clear, has_begun, locked
from preflab.train.files import naming_failures
from preflab.train.finished import check_product
from preflab.train.sealed import write_sealed

from .conftest import NEVER, Forks, Undisturbed, arm, outcome

MANIFEST = {"format": 1, "spec": {"seed": 1}, "versions": {}, "code": {"my:loss": "a" * 64}}


def log(directory: Path) -> str:
    return Path(f"{directory}.log").read_text()


def flip(path: Path, place: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int((len(data) - 1) * place)] ^= 1
    path.write_bytes(bytes(data))


def zero(path: Path) -> None:
    path.write_bytes(b"\0" * path.stat().st_size)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_first(path: Path) -> None:
    flip(path, 0.0)


def shorten(path: Path) -> None:
    """Into its first line."""
    path.write_bytes(path.read_bytes()[:9])


# -- an unfinished run ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [flip, zero, cut, Path.unlink])
def test_damaged_best_weights_change_nothing(
    forks: Forks, undisturbed: Undisturbed, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """Every checkpoint holds the best weights of its time: those on the disk are written again from it."""
    directory = tmp_path / "sft"
    assert forks.run(arm("sft"), directory, fault="evaluation") == -signal.SIGKILL
    damage(directory / "best/weights.safetensors")
    assert forks.run(arm("sft"), directory) == 0, log(directory)
    assert outcome(directory) == undisturbed("sft")


@pytest.mark.parametrize("name", ["metrics.jsonl", "samples.jsonl"])
@pytest.mark.parametrize("damage", [flip_first, shorten, zero, Path.unlink])
def test_damaged_records_are_not_built_on(
    forks: Forks, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    """A record that every checkpoint stands on: one line that names it; nothing is grown with NULs."""
    directory = tmp_path / "ppo"
    assert forks.run(arm("ppo"), directory, fault="update.after:3") == -signal.SIGKILL
    damage(directory / name)
    assert forks.run(arm("ppo"), directory) == 2
    last = log(directory).splitlines()[-1]
    assert last.startswith(f"preflab: {directory / name} is damaged. No checkpoint under ")
    assert "Traceback" not in log(directory)


def test_damage_in_the_last_lines_uses_the_checkpoint_before(
    forks: Forks, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """The second step's line is damaged: the first checkpoint does not stand on it, and the run goes on from there."""
    directory = tmp_path / "ppo"
    assert forks.run(arm("ppo"), directory, fault="update.after:3") == -signal.SIGKILL
    flip(directory / "metrics.jsonl", 1.0)
    assert forks.run(arm("ppo"), directory) == 0, log(directory)
    assert "checkpoint step-00000002 is damaged" in log(directory)
    assert outcome(directory) == undisturbed("ppo")


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
@pytest.mark.parametrize("step", [3, 4])
def test_damaged_round_is_drawn_again_from_the_checkpoint_before_it(
    forks: Forks, undisturbed: Undisturbed, tmp_path: Path, step: int, damage: Callable[[Path], None]
) -> None:
    """DPO-Iter killed in its second round (steps 3 and 4), whose pairs are damaged then. In the third step no checkpoint
    stands on them yet; in the fourth one does, and the one before it is used."""
    directory = tmp_path / "dpo-iter"
    assert forks.run(arm("dpo-iter"), directory, fault=f"update.after:{step}") == -signal.SIGKILL
    damage(directory / "journal/round-0001.json")
    assert forks.run(arm("dpo-iter"), directory) == 0, log(directory)
    assert "resumes after step 2" in (directory / "run.log").read_text()
    assert outcome(directory) == undisturbed("dpo-iter")


def test_a_round_that_every_checkpoint_stands_on(forks: Forks, tmp_path: Path) -> None:
    """One line: the pairs would be others, drawn from a policy that has moved on."""
    directory = tmp_path / "dpo-iter"
    assert forks.run(arm("dpo-iter"), directory, fault="update.after:2") == -signal.SIGKILL
    flip(directory / "journal/round-0000.json")
    assert forks.run(arm("dpo-iter"), directory) == 2
    assert log(directory).splitlines()[-1].startswith(f"preflab: {directory}/journal/round-0000.json is damaged")


@pytest.mark.parametrize(
    "content", ["[]", "{}", "5", "[" * 100_000, None], ids=["list", "empty", "5", "deep", "folder"]
)
@pytest.mark.parametrize("name", ["checksums.json", "values.json"])
def test_a_checkpoint_of_another_form(
    forks: Forks, undisturbed: Undisturbed, tmp_path: Path, name: str, content: str | None
) -> None:
    """JSON that is no checkpoint's, or too deep, and a directory where a file belongs: the checkpoint before it is used."""
    directory = tmp_path / "sft"
    assert forks.run(arm("sft"), directory, fault="update.after:3") == -signal.SIGKILL
    path = directory / "checkpoints/step-00000002" / name
    path.unlink()
    path.mkdir() if content is None else path.write_text(content)
    assert forks.run(arm("sft"), directory) == 0, log(directory)
    assert "resumes after step 1" in log(directory) + (directory / "run.log").read_text()
    assert outcome(directory) == undisturbed("sft")


def rewrite(checkpoint: Path, change: Callable[[dict[str, Any], dict[str, Any]], Any]) -> None:
    """Changes the tensors and the values of a checkpoint, with checksums that match. What `change` returns, if anything, is
    written in the place of all values."""
    tensors, values = load_file(checkpoint / TENSORS), json.loads((checkpoint / VALUES).read_text())
    other = change(tensors, values)
    save_file(tensors, checkpoint / TENSORS)
    (checkpoint / VALUES).write_text(json.dumps(values if other is None else other))
    reseal(checkpoint)


def reseal(checkpoint: Path) -> None:
    sums = {name: hashlib.sha256((checkpoint / name).read_bytes()).hexdigest() for name in (TENSORS, VALUES)}
    (checkpoint / "checksums.json").write_text(json.dumps(sums))


def first_of(tensors: dict[str, Any], words: str) -> str:
    return next(name for name in sorted(tensors) if words in name)


OTHER_STATES: dict[str, Callable[[dict[str, Any], dict[str, Any]], Any]] = {
    "list": lambda tensors, values: [1, 2],
    "no weights": lambda tensors, values: [tensors.pop(name) for name in list(tensors) if "/weights/" in name] and None,
    "shape": lambda tensors, values: tensors.update({first_of(tensors, "policy/weights"): torch.zeros(3)}),
    "repeated": lambda tensors, values: tensors.update({first_of(tensors, "policy/weights"): torch.zeros(1)}),
    "moment": lambda tensors, values: tensors.update({first_of(tensors, "exp_avg"): torch.zeros(1)}),
    "best": lambda tensors, values: tensors.update({first_of(tensors, "best/"): torch.zeros(1)}),
    "leaf and folder": lambda tensors, values: values.update({"policy": 5}),
    "below a value": lambda tensors, values: values.update({"policy/position/x": 5}),
    **{
        f"{name} {value!r}": lambda tensors, values, name=name, value=value: values.update({name: value})
        for name, value in (
            ("policy/position", "abc"),
            ("policy/updates", None),
            ("selection/done", []),
            ("journal/last", None),
            ("meter/flops", None),
        )
    },
    "mark": lambda tensors, values: values.update({"record/metrics/bytes": "abc"}),
    "mark beyond": lambda tensors, values: values.update({"record/metrics/bytes": 10**9}),
}


def test_a_checkpoint_of_another_state(forks: Forks, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Checksums that match a state that does not fit: where every checkpoint is such, one line and exit code 2; otherwise the
    run goes on from the intact one, and ends with its bits. A small tensor is not repeated over a large one in silence."""
    start = tmp_path / "start"
    assert forks.run(arm("sft"), start, fault="update.after:3") == -signal.SIGKILL
    steps = sorted(path.name for path in (start / "checkpoints").iterdir())
    assert len(steps) == 2
    for number, (name, change) in enumerate(OTHER_STATES.items()):
        if name == "best":  # only the second checkpoint has best weights
            continue
        directory = tmp_path / f"run-{number}"
        shutil.copytree(start, directory)
        for step in steps:
            rewrite(directory / "checkpoints" / step, change)
        assert forks.run(arm("sft"), directory) == 2, (name, log(directory))
        assert "Traceback" not in log(directory) and "is intact" in log(directory).splitlines()[-1], name
    for name in ("list", "shape", "moment", "best", "policy/updates None"):
        directory = tmp_path / f"before {name.replace('/', '-')}"
        shutil.copytree(start, directory)
        rewrite(directory / "checkpoints" / steps[-1], OTHER_STATES[name])
        assert forks.run(arm("sft"), directory) == 0, (name, log(directory))
        assert outcome(directory) == undisturbed("sft"), name
    (start / "checkpoints" / steps[-1] / TENSORS).write_bytes(b"\xff" * 64)
    reseal(start / "checkpoints" / steps[-1])
    assert forks.run(arm("sft"), start) == 0, log(start)
    assert outcome(start) == undisturbed("sft")


def test_checkpoints_that_changed_places(forks: Forks, tmp_path: Path) -> None:
    """Each is whole, and says which step it is of."""
    directory = tmp_path / "sft"
    assert forks.run(arm("sft"), directory, fault="update.after:3") == -signal.SIGKILL
    place = directory / "checkpoints"
    for source, target in (("step-00000001", "x"), ("step-00000002", "step-00000001"), ("x", "step-00000002")):
        (place / source).rename(place / target)
    assert forks.run(arm("sft"), directory) == 2
    assert "contains the checkpoint of step 1" in log(directory)


@pytest.mark.parametrize(
    "name", ["manifest.json", "metrics.jsonl", "lock", "run.log", "best", "tensorboard", "checkpoints"]
)
def test_a_directory_where_a_file_belongs_and_the_reverse(forks: Forks, tmp_path: Path, name: str) -> None:
    """One line, or the right result; never a traceback."""
    directory = tmp_path / "sft"
    assert forks.run(arm("sft"), directory, fault="update.after:2", keeping=NEVER) == -signal.SIGKILL
    path = directory / name
    is_file = path.is_file()
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.mkdir() if is_file else path.write_text("x")
    code = forks.run(arm("sft"), directory)
    assert code in (0, 2), log(directory)
    assert "Traceback" not in log(directory)
    if code == 2:
        assert str(directory if name == "lock" else path) in log(directory).splitlines()[-1]


# -- a finished run -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [flip, cut, zero])
def test_a_damaged_result_is_not_reported(forks: Forks, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """One digit of a result is not another result."""
    directory = tmp_path / "sft"
    assert forks.run(arm("sft"), directory) == 0
    damage(directory / "result.json")
    assert forks.run(arm("sft"), directory) == 2
    assert f"preflab: {directory / 'result.json'} is damaged" in log(directory).splitlines()[-1]


@pytest.mark.parametrize("damage", [flip, Path.unlink])
def test_a_finished_run_says_that_its_model_changed(
    forks: Forks, undisturbed: Undisturbed, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """The result stands, and what became of the model is said; nothing starts from it or measures it unawares."""
    directory = tmp_path / "sft"
    assert forks.run(arm("sft"), directory) == 0
    damage(directory / "final/model.safetensors")
    assert forks.run(arm("sft"), directory) == 0
    assert "missing or were changed: final/model.safetensors. The result is kept" in log(directory)
    assert (directory / "result.json").read_bytes() == undisturbed("sft")["result.json"]
    later = arm("dpo", init=str(directory / "final"))
    assert forks.run(later, tmp_path / "dpo") == 2
    assert "final/model.safetensors is missing or was changed after the run" in log(tmp_path / "dpo")
    shutil.rmtree(directory / "final")
    assert forks.run(arm("sft"), directory) == 0
    assert f"{directory}: files of this finished run are missing or were changed: final" in log(directory)


def test_a_stage_whose_product_is_damaged_runs_again(forks: Forks, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """A stage runs for its product."""
    directory = tmp_path / "pairs"
    assert forks.run(arm("pairs"), directory) == 0
    flip(directory / "final/preferences.jsonl")
    assert forks.run(arm("pairs"), directory) == 0, log(directory)
    assert outcome(directory) == undisturbed("pairs")


def test_a_stage_that_runs_again_names_what_it_would_delete(forks: Forks, tmp_path: Path) -> None:
    """A note beside the damaged product is the user's: nothing is made again before it is moved."""
    directory = tmp_path / "pairs"
    assert forks.run(arm("pairs"), directory) == 0
    flip(directory / "final/preferences.jsonl")
    (directory / "final/notes.md").write_text("mine")
    assert forks.run(arm("pairs"), directory) == 2
    assert "final/notes.md was not written by a run, and a run would delete it" in log(directory)
    assert (directory / "final/notes.md").read_text() == "mine"


FOREIGN = (
    *("final", "journal", "best", "tensorboard", "checkpoints", "final.tmp", "best.tmp", "final.old.tmp", "replaced"),
    *("final/notes.md", "final.tmp/notes.md", "journal/notes.md", "best/notes.md", "tensorboard/notes.md"),
    *("checkpoints/step-00000001/notes.md", "checkpoints/step-00000009", "best.tmp/a", "final.old.tmp/a"),
    *("product.json", "answers.jsonl", "tensorboard/events.out.tfevents.1700000000.host.1.0"),
)


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_foreign_stops_a_run_that_resumes(forks: Forks, tmp_path: Path, name: str) -> None:
    """A file of the user's under a name that the run replaces or removes is named before anything changes."""
    directory = tmp_path / "sft"
    assert forks.run(arm("sft"), directory, fault="update.after:3") == -signal.SIGKILL
    path = directory / name
    if path.is_dir():
        shutil.rmtree(path)
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    before = {place: place.read_bytes() for place in directory.rglob("*") if place.is_file()}
    assert forks.run(arm("sft"), directory) == 2
    assert f"preflab: {path} was not written by a run, and a run would delete it." in log(directory)
    assert {place: place.read_bytes() for place in directory.rglob("*") if place.is_file()} == before


@pytest.mark.parametrize("name", ["checkpoints/mine.txt", "checkpoints/step-by-step/a", "notes.md"])
def test_what_lies_beside_stays(forks: Forks, undisturbed: Undisturbed, tmp_path: Path, name: str) -> None:
    """What the run neither replaces nor removes does not stop it, and is there at its end."""
    directory = tmp_path / "sft"
    assert forks.run(arm("sft"), directory, fault="update.after:3") == -signal.SIGKILL
    (directory / name).parent.mkdir(exist_ok=True)
    (directory / name).write_text("mine")
    assert forks.run(arm("sft"), directory) == 0, log(directory)
    assert (directory / name).read_text() == "mine"
    assert (directory / "result.json").read_bytes() == undisturbed("sft")["result.json"]


def test_what_was_copied_out_of_a_run_may_be_changed(tmp_path: Path) -> None:
    """Protects whoever edits a model on purpose: the run's own is refused, with this way out; the copy is not."""
    run = tmp_path / "run"
    (run / "final").mkdir(parents=True)
    (run / "final/config.json").write_text("{}")
    write_sealed(run / "manifest.json", MANIFEST)
    write_sealed(run / "result.json", {"diverged": None, "counts": {}, "files": {"final/config.json": "0" * 64}})
    for path in (run / "final", run / "final/config.json"):
        with pytest.raises(UserError, match=r"copy .*final to another directory"):
            check_product(path)
    shutil.copytree(run / "final", tmp_path / "final")
    check_product(tmp_path / "final")


# -- whose directory ------------------------------------------------------------------------------------------------------


def test_a_refused_run_leaves_its_directory_free(forks: Forks, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """The first command names a model that is not there; the corrected one may have the directory. A run that has made a
    step keeps it."""
    directory = tmp_path / "sft"
    assert forks.run(arm("sft", init=str(tmp_path / "nowhere")), directory) == 2
    assert not directory.exists()
    assert forks.run(arm("sft"), directory, fault="update.after:2", keeping=NEVER) == -signal.SIGKILL
    assert has_begun(directory)
    assert forks.run(arm("sft", seed=9), directory) == 2
    assert "holds another run (it differs in seed)" in log(directory)
    assert forks.run(arm("sft"), directory) == 0
    assert outcome(directory) == undisturbed("sft")


@pytest.mark.parametrize(
    ("mistake", "complaint"),
    [
        (arm("sft", init="nowhere"), "nowhere"),
        (arm("rm") | {"method": {"kind": "rm", "margin": 1}}, "No preference pair has a margin"),
        (arm("sft", init="sft/final"), "is part of the run that --fresh deletes"),
    ],
)
def test_a_mistake_beside_fresh_costs_nothing(
    forks: Forks, undisturbed: Undisturbed, tmp_path: Path, mistake: dict[str, Any], complaint: str
) -> None:
    """A finished run is kept if a command with `--fresh` is refused: because a part does not exist, because of the
    method, or because the command needs the run that it would delete."""
    directory = tmp_path / "sft"
    assert forks.run(arm("sft"), directory) == 0
    if "init" in mistake:
        mistake = mistake | {"init": str(tmp_path / mistake["init"])}
    assert forks.run(mistake, directory, fresh=True) == 2
    assert complaint in log(directory)
    assert outcome(directory) == undisturbed("sft")
    assert not (directory / "replaced").exists()
    assert forks.run(arm("sft"), directory) == 0


def test_fresh_is_killed(forks: Forks, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """If the new run is killed before its first step is written, the old run is restored. If it is killed later, the
    old run is deleted and the new run resumes."""
    directory = tmp_path / "sft"
    assert forks.run(arm("sft"), directory) == 0
    assert forks.run(arm("sft", seed=9), directory, fresh=True, fault="update.after") == -signal.SIGKILL
    assert (directory / "replaced/result.json").exists()
    assert forks.run(arm("sft"), directory) == 0
    assert outcome(directory) == undisturbed("sft")
    assert forks.run(arm("sft", seed=9), directory, fresh=True, fault="metrics.written") == -signal.SIGKILL
    assert forks.run(arm("sft", seed=9), directory) == 0
    assert json.loads((directory / "result.json").read_text())["seed"] == 9
    assert not list(directory.glob("replaced*"))


def test_a_finished_run_notices_edited_code(forks: Forks, tmp_path: Path) -> None:
    """A reward of the user's, in a file that changes after the run: one line names it. In forks, since a module that is
    imported stays as it was."""
    code = tmp_path / "my_rewards.py"
    code.write_text("def score(prompts, texts):\n    return [float(len(text)) for text in texts]\n")
    spec = arm("ppo", reward={"kind": "function", "target": "my_rewards:score"})
    (tmp_path / "run.json").write_text(json.dumps({**spec, "method": {**spec["method"], "steps": 1}}))

    def train(name: str) -> tuple[int, str]:
        log = tmp_path / name
        forks.command(["train", "--run", "run.json", "--output", "run", "-q"], log=log, folder=tmp_path)
        return forks.wait(), log.read_text()

    assert train("first")[0] == 0
    code.write_text(code.read_text().replace("len(text)", "-len(text)"))
    assert train("second") == (
        2,
        "preflab: The code of my_rewards:score has changed since the run in run began. "
        "Choose another --output, or start again with --fresh.\n",
    )


def test_the_code_that_a_spec_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects a loss, an evaluator, a reward, a program, at whatever depth; a stage and a URL are no code of the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("code_under_test.py", "my program.py"):
        (tmp_path / name).write_text(f"# {name}\n")
    spec = {
        "method": {"kind": "dpo", "loss": "code_under_test:hinge"},
        "evaluators": [{"kind": "code_under_test:Brief"}, {"url": "http://host:80"}],
        "reward": {"kind": "command", "command": "no-such-python 'my program.py' --fast"},
        "init": "stage:sft",
    }
    losses, program = (
        hashlib.sha256(f"# {name}\n".encode()).hexdigest() for name in ("code_under_test.py", "my program.py")
    )
    assert code_of(spec) == {"code_under_test:hinge": losses, "code_under_test:Brief": losses, "my program.py": program}


def test_edited_code_is_refused_and_older_manifests_pass(tmp_path: Path) -> None:
    """Protects unfinished runs too; a manifest that an older preflab wrote lists no code."""
    claim(tmp_path, MANIFEST)
    with pytest.raises(UserError, match="my:loss has changed"):
        claim(tmp_path, {**MANIFEST, "code": {"my:loss": "b" * 64}})
    write_sealed(tmp_path / "manifest.json", {name: MANIFEST[name] for name in ("format", "spec", "versions")})
    claim(tmp_path, MANIFEST)


def test_a_run_does_not_share_a_studys_directory(tmp_path: Path) -> None:
    """`train --output runs/gap` and a study named `gap`: refused, and nothing is written."""
    write_sealed(tmp_path / "study.json", {"format": 1, "study": {"name": "gap"}})
    with pytest.raises(UserError, match="holds a study"):
        claim(tmp_path, MANIFEST)
    assert not (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize("content", ["[]", "{", "[" * 100_000, '{"format": 1, "spec": 3}', "\0" * 40])
def test_a_damaged_manifest_deletes_nothing(tmp_path: Path, content: str) -> None:
    """`--fresh` deletes what a manifest says is a run's; one that cannot be read says nothing, and that is said."""
    (tmp_path / "manifest.json").write_text(content)
    (tmp_path / "metrics.jsonl").write_text("mine")
    with pytest.raises(UserError, match=r"manifest\.json is damaged.*remove .* yourself"):
        clear(tmp_path)
    with pytest.raises(UserError, match=r"manifest\.json is damaged"):
        claim(tmp_path, MANIFEST)
    assert (tmp_path / "metrics.jsonl").read_text() == "mine"


# -- places that cannot be written ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["date", "versions", "code"])
def test_a_manifest_with_a_field_of_another_type_is_refused(tmp_path: Path, field: str) -> None:
    """Protects from a manifest that was changed by hand and has no seal: the file and the field are named."""
    (tmp_path / "manifest.json").write_text(json.dumps({**MANIFEST, field: 5}))
    with pytest.raises(UserError, match=rf"manifest\.json is damaged: fields .*: {field}\."):
        claim(tmp_path, MANIFEST)


@pytest.mark.parametrize("target", ["nowhere", "manifest.json"])
def test_a_manifest_that_is_a_broken_link_is_named(tmp_path: Path, target: str) -> None:
    """Protects from blaming the wrong file: a dangling or looping link is what is broken, not the metrics."""
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    (tmp_path / "manifest.json").symlink_to(target)
    with pytest.raises(UserError, match=r"manifest\.json\b.*Restore it"):
        claim(tmp_path, MANIFEST)


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    """For root too: below a file, in `/proc`, under a name that is too long."""
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file/run", Path("/proc/run"), tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match=r"cannot be written: .*Choose another --output"), locked(place):
            pass


def test_a_read_only_directory_is_one_line_for_a_user(tmp_path: Path) -> None:
    """As a user who is not root: the directory is there, and is another's."""
    if os.geteuid() != 0:
        pytest.skip("needs the right to become another user (root)")
    script = (
        "import os, sys; from pathlib import Path; from preflab.train.directory import locked\n"
        "from preflab.errors import UserError\n"
        "os.setuid(65534)\n"
        "try:\n  locked(Path(sys.argv[1])).__enter__()\n"
        "except UserError as error: print(error)"
    )
    (tmp_path / "run").mkdir(mode=0o755)
    for place in (tmp_path / "run", tmp_path / "new"):
        done = subprocess.run([sys.executable, "-c", script, str(place)], capture_output=True, text=True)
        assert done.stdout == f"{place} cannot be written: Permission denied. Choose another --output.\n", done.stderr


def test_failures_of_the_file_system_are_named(tmp_path: Path) -> None:
    """Protects from tracebacks in a run's own directory; a full or broken disk keeps its own message, and other places
    are no business of the run's."""
    with pytest.raises(UserError, match=r"x/y cannot be used: Not a directory"), naming_failures(tmp_path):
        raise NotADirectoryError(errno.ENOTDIR, "Not a directory", str(tmp_path / "x/y"))
    with pytest.raises(OSError, match="full"), naming_failures(tmp_path):
        raise OSError(errno.ENOSPC, "full", str(tmp_path / "x"))
    with pytest.raises(OSError, match=f"Input/output error: '{tmp_path}'"), naming_failures(tmp_path):
        raise OSError(errno.EIO, "Input/output error")
    with pytest.raises(FileNotFoundError), naming_failures(tmp_path):
        raise FileNotFoundError(errno.ENOENT, "absent", "/elsewhere")
