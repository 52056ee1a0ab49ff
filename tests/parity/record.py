"""Records what TRL computes. Run with the python of a TRL environment (`make parity` builds both):

    .parity/trl-1.16.0/bin/python tests/parity/record.py [--output FILE]

Without --output the recording replaces the golden file of the TRL that is installed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Before any of the libraries loads: nothing from a hub, one thread, no banner.
os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}

GOLDENS = Path(__file__).resolve().parent / "goldens"
# 1.12 is the last TRL with PPO; everything else is recorded from 1.16.
RECORDED = {"1.16.0": ("pairs", "rows", "groups"), "1.12.0": ("ppo",)}
LIBRARIES = ("trl", "transformers", "torch")


def recording() -> dict[str, Any]:
    """The versions, and every case of the recorders that this TRL answers to."""
    versions = {name: version(name) for name in LIBRARIES}
    if versions["trl"] not in RECORDED:
        raise SystemExit(f"TRL {versions['trl']} is installed here; recordings are of {' and '.join(RECORDED)}.")
    cases: list[dict[str, Any]] = []
    for name in RECORDED[versions["trl"]]:
        for recorder in importlib.import_module(f"recorders.{name}").RECORDERS:
            cases += recorder()
    return {"versions": versions, "cases": cases}


def as_text(recorded: dict[str, Any]) -> str:
    """JSON with one entry of a case a line, so that a difference can be read."""
    parts = []
    for case in recorded["cases"]:
        lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in case.items()]
        parts.append("{\n" + ",\n".join(lines) + "\n}")
    return f'{{"versions": {json.dumps(recorded["versions"])}, "cases": [\n' + ",\n".join(parts) + "\n]}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Records what TRL computes.")
    parser.add_argument("--output", type=Path)
    output = parser.parse_args().output
    recorded = recording()
    target = output or GOLDENS / f"trl-{recorded['versions']['trl']}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(as_text(recorded), encoding="utf-8")
    print(f"{len(recorded['cases'])} cases: {target}")


if __name__ == "__main__":
    main()
