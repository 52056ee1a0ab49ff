"""The site file and `--on`: which launcher a name means, and what a mistake says."""

from __future__ import annotations

from pathlib import Path

import pytest

from preflab.errors import UserError
from preflab.study.launchers.local import Local
from preflab.study.launchers.ray import Ray
from preflab.study.launchers.site import choose_launcher
from preflab.study.launchers.slurm import Slurm

SITE = """
default: a100
launchers:
  a100: {kind: slurm, partition: a100, gpus: 1, minutes: 240, setup: [module load cuda], environment: {HF_HOME: /hub}}
  ray: {kind: ray, gpus: 0.5, shared: false}
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of the user's site file, which does not exist yet."""
    monkeypatch.delenv("PREFLAB_SITE", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "preflab").mkdir()
    return tmp_path / "preflab" / "site.yaml"


def test_without_a_site_file(site: Path) -> None:
    assert choose_launcher(None) == Local()
    assert choose_launcher("ray") == Ray()
    assert choose_launcher("ray:head:6379") == Ray(address="head:6379")
    assert choose_launcher("preflab.study.launchers.local:Local") == Local()


def test_a_site_file_names_launchers(site: Path) -> None:
    """Its `ray` hides preflab's own settings, also with an address, and its default is used without `--on`."""
    site.write_text(SITE)
    slurm = Slurm(partition="a100", gpus=1, minutes=240, setup=("module load cuda",), environment={"HF_HOME": "/hub"})
    assert choose_launcher(None) == choose_launcher("a100") == slurm
    assert choose_launcher("ray") == Ray(gpus=0.5, shared=False)
    assert choose_launcher("ray:head:6379") == Ray(gpus=0.5, shared=False, address="head:6379")
    assert choose_launcher("local") == Local()


def test_the_variable_names_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text("default: ray")
    monkeypatch.setenv("PREFLAB_SITE", str(tmp_path / "mine.yaml"))
    assert choose_launcher(None) == Ray()
    monkeypatch.setenv("PREFLAB_SITE", str(tmp_path / "absent.yaml"))
    with pytest.raises(UserError, match=r"no file .*absent.yaml"):
        choose_launcher(None)


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "slrum", "Unknown launcher 'slrum'. Did you mean 'slurm'"),
        ("", "local:head", "the launcher 'local' takes no address"),
        ("launchers: {a: {kind: slurm, partion: x}}", None, "unknown key `partion`. Did you mean 'partition'"),
        ("launchers: {a: {partition: x}}", None, "The launcher needs a `kind`"),
        ("launchers: {a: {kind: slurm, minutes: 0}}", None, "`minutes`"),
        ("default: b100", None, "Unknown launcher 'b100'"),
        ("defualt: a", None, "unknown key `defualt`"),
    ],
)
def test_a_mistake_is_one_line(site: Path, text: str, name: str | None, message: str) -> None:
    if text:
        site.write_text(text)
    with pytest.raises(UserError) as error:
        choose_launcher(name)
    assert message in str(error.value)
