"""The installer's branches, run against stand-ins for python, pip and nvidia-smi: no network, no real installation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

# Plays `python`, in .venv and outside. What pip was asked for goes to $CALLS; $PIP_FAILS is a pattern of calls that
# fail with the words in $PIP_SAYS; a file named `torch` beside the interpreter holds the version of an installed torch.
PYTHON_STAND_IN = r"""#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
case "$*" in
    "-V") echo "Python ${FAKE_VERSION:-3.11.9}" ;;
    "-c "*) case "${FAKE_VERSION:-3.11.9}" in 3.11*) exit 0 ;; *) exit 1 ;; esac ;;
    "-m venv "*)
        [ -z "${VENV_SAYS:-}" ] || { echo "$VENV_SAYS"; exit 1; }
        echo venv >>"$CALLS"
        mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    "-m pip --version") ;;
    "- "*) exec "$REAL_PYTHON" -c '
import importlib.metadata, pathlib, sys
path = pathlib.Path(sys.argv.pop(1), "torch")
def version(name):
    if not path.exists():
        raise importlib.metadata.PackageNotFoundError(name)
    return path.read_text()
importlib.metadata.version = version
exec(sys.stdin.read())
' "$here" "$2" ;;
    "-m pip "*)
        echo "$*" | sed 's/.*install/pip install/' >>"$CALLS"
        if [ -n "${PIP_FAILS:-}" ] && echo "$*" | grep -qE -- "$PIP_FAILS"; then echo "$PIP_SAYS"; exit 1; fi
        case "$*" in
            *--no-index*) printf '2.13.0+cpu' >"$here/torch" ;;
            *torch==*) printf 2.13.0 >"$here/torch" ;;
        esac ;;
esac
"""
LOCAL = "pip install --no-deps --no-index torch==2.13.0+cpu"
PREFLAB = "pip install --constraint .venv/constraints.txt --editable .[dev]"


@dataclass
class Machine:
    """A copy of the installer's inputs with stand-ins first on the path."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)

    def install(self, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "scripts/install.sh"],
            cwd=self.root,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def calls(self) -> list[str]:
        """What was asked since the last look."""
        log = Path(self.env["CALLS"])
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    def stand_in(self, name: str, text: str) -> None:
        path = self.root / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def refused(self, **env: str) -> str:
        """The one line that a failing installation prints on stderr."""
        result = self.install(**env)
        assert result.returncode != 0
        lines = result.stderr.splitlines()
        assert len(lines) == 1, result.stderr
        return lines[0]


@pytest.fixture
def machine(tmp_path: Path, repository: Path) -> Machine:
    for name in ("pyproject.toml", "constraints.txt", "scripts/install.sh"):
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        shutil.copy(repository / name, target)
    env = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "CALLS": str(tmp_path / "calls"),
        "REAL_PYTHON": sys.executable,
    }
    machine = Machine(tmp_path, env)
    machine.stand_in("python3", PYTHON_STAND_IN)
    machine.stand_in("nvidia-smi", "#!/bin/sh\nexit 9\n")  # a driver without a GPU: counts as none
    return machine


def test_without_gpu_the_local_cpu_wheel_is_taken(machine: Machine) -> None:
    """A wheel that pip finds without any index wins, and its exact build becomes the constraint for the rest."""
    assert machine.install().returncode == 0
    assert machine.calls() == ["venv", LOCAL, PREFLAB]
    constraints = (machine.root / ".venv/constraints.txt").read_text().splitlines()
    assert [line for line in constraints if line.startswith("torch==")] == ["torch==2.13.0+cpu"]
    assert "transformers==5.23.0" in constraints


def test_without_gpu_and_local_wheel_pytorchs_cpu_index_serves_torch_alone(machine: Machine) -> None:
    """The CPU index is named for torch without its dependencies, and for nothing else."""
    assert machine.install(PIP_FAILS="--no-index", PIP_SAYS="from versions: none").returncode == 0
    index = "pip install --no-deps --index-url https://download.pytorch.org/whl/cpu torch==2.13.0"
    assert machine.calls() == ["venv", LOCAL, index, PREFLAB]


def test_with_gpu_the_ordinary_build_is_taken(machine: Machine) -> None:
    """With a GPU no index is named, and a local CPU wheel is excluded although its version sorts higher."""
    machine.stand_in("nvidia-smi", "#!/bin/sh\nexit 0\n")
    assert machine.install().returncode == 0
    assert machine.calls() == ["venv", "pip install --no-deps torch==2.13.0,!=2.13.0+cpu", PREFLAB]


def test_torch_index_overrides(machine: Machine) -> None:
    """TORCH_INDEX decides whatever the hardware."""
    machine.stand_in("nvidia-smi", "#!/bin/sh\nexit 0\n")
    assert machine.install(TORCH_INDEX="https://example.org/cu126").returncode == 0
    index = "pip install --no-deps --index-url https://example.org/cu126 torch==2.13.0"
    assert machine.calls() == ["venv", index, PREFLAB]


@pytest.mark.parametrize(("version", "kept"), [("2.10.0+cu128", True), ("3.0.1", True), ("2.9.1", False)])
def test_a_torch_that_satisfies_stays(machine: Machine, version: str, kept: bool) -> None:
    """2.10 and later stay, compared as numbers (2.9 < 2.10); the constraint names the torch that is there."""
    binary = machine.root / ".venv/bin"
    binary.mkdir(parents=True)
    shutil.copy(machine.root / "bin/python3", binary / "python")
    (binary / "torch").write_text(version)
    assert machine.install().returncode == 0
    assert machine.calls() == ([PREFLAB] if kept else [LOCAL, PREFLAB])
    expected = version if kept else "2.13.0+cpu"
    assert f"torch=={expected}" in (machine.root / ".venv/constraints.txt").read_text().splitlines()


def test_the_second_time_nothing_happens_until_the_inputs_change(machine: Machine) -> None:
    """The stamp covers pyproject.toml and constraints.txt; torch is not installed again."""
    machine.install()
    machine.calls()
    again = machine.install()
    assert (again.returncode, again.stdout, machine.calls()) == (0, "", [])
    with (machine.root / "constraints.txt").open("a") as file:
        file.write("# changed\n")
    assert machine.install().returncode == 0
    assert machine.calls() == [PREFLAB]


def test_a_failed_installation_is_taken_up_again(machine: Machine) -> None:
    """No stamp is left by a failure, so that the next run goes on where it broke, without a second torch."""
    machine.refused(PIP_FAILS="editable", PIP_SAYS="ERROR: something odd")
    machine.calls()
    assert machine.install().returncode == 0
    assert machine.calls() == [PREFLAB]


def test_python_too_old(machine: Machine) -> None:
    line = machine.refused(FAKE_VERSION="3.10.4")
    assert "Python 3.10.4 is too old, 3.11 or newer is needed" in line
    assert "PYTHON=" in line
    assert machine.calls() == []


def test_no_such_python(machine: Machine) -> None:
    assert "there is no python9" in machine.refused(PYTHON="python9")


@pytest.mark.parametrize("words", ["/usr/bin/python3: No module named venv", "because ensurepip is not available."])
def test_no_venv_module(machine: Machine, words: str) -> None:
    assert "apt-get install python3-venv" in machine.refused(VENV_SAYS=words)


@pytest.mark.parametrize(("broken", "place"), [("editable", "PyPI"), ("index", "https://download.pytorch.org/whl/cpu")])
def test_no_network(machine: Machine, broken: str, place: str) -> None:
    """The line names the index that did not answer and the log that holds pip's own words."""
    words = "NewConnectionError: Temporary failure in name resolution"
    line = machine.refused(PIP_FAILS=broken, PIP_SAYS=words)
    assert f"cannot be reached ({place}" in line
    assert words in (machine.root / line.rpartition("Log: ")[2]).read_text()


def test_disk_full(machine: Machine) -> None:
    assert "disk is full" in machine.refused(
        PIP_FAILS="editable", PIP_SAYS="OSError: [Errno 28] No space left on device"
    )


def test_another_failure_quotes_pips_error(machine: Machine) -> None:
    assert "ERROR: something odd" in machine.refused(PIP_FAILS="editable", PIP_SAYS="ERROR: something odd")
