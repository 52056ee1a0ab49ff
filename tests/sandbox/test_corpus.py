"""The shared corpus of hostile and honest programs, by its own harness."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import require_feature

from preflab.sandbox.bubblewrap import Bubblewrap


@pytest.mark.slow
def test_the_corpus_passes_whole(walls: Bubblewrap, repository: Path, tmp_path: Path) -> None:
    """Protects from 58 known ways of cheating and failing: no wrong verdict, no canary."""
    corpus = repository.parent / "shared" / "attacks"
    require_feature("shared", corpus.is_dir(), "needs the corpus in ../shared/attacks beside the repository")
    preflab = f"{sys.executable} -m preflab judge --problems {{problems}} --programs {{programs}} --out {{out}}"
    process = subprocess.run(
        [sys.executable, str(corpus / "run_corpus.py"), "--corpus", str(corpus), "--judge", preflab],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-3000:]
