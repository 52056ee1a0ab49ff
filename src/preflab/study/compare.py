"""Makes a study that measures finished policies without training, and records the checksums of these policies.

Does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from preflab.arm.saved import find_saved_model
from preflab.errors import UserError, refuse_unknown
from preflab.paths import user_path
from preflab.spec import parse_spec
from preflab.study.spec import Study
from preflab.train.files import file_digests, read_json, write_json
from preflab.train.ownership import FINAL

POLICIES_FILE = "policies.json"
"""The name of the file with the checksums of the policies that a study compares. Only policies that are directories
have checksums."""
ONE_RUN_EACH = (
    "Each policy was measured as it is. The intervals are over the problems alone: they say nothing about other training runs "
    "of the same methods."
)
GIB_A_BYTE = 3 / 2**30
"""The memory that a policy needs, in GiB for each byte of its weight files. The factor 3 allows for files in half
precision, which take half as many bytes as the weights in fp32."""


def comparison_study(
    policies: Mapping[str, str], *, baseline: str | None = None, name: str = "compare", **settings: Any
) -> Study:
    """Returns the study that measures policies and compares all pairs of them.

    `policies`: maps each name to a directory, a finished run, or a name on the hub. `baseline`: the name of the policy
    with which the other policies are compared. This policy cannot win. `settings`: further fields of a study file, such
    as `testbed`, `evaluators` and `evaluation`. Raises `UserError` for fewer than two policies, or an unknown
    baseline."""
    if len(policies) < 2:
        raise UserError(
            "Give at least two policies, such as `preflab compare dpo=runs/dpo ppo=runs/ppo --testbed NAME`."
        )
    refuse_unknown([] if baseline is None else [baseline], policies, "--baseline names the policy")
    places = {each: find_policy(path) for each, path in policies.items()}
    arms = {
        each: {"policy": path, "model": {"name": path}, "baseline": each == baseline, "description": policies[each]}
        for each, path in places.items()
    }
    sizes = [weigh_policy(user_path(path)) for path in places.values() if user_path(path).is_dir()]
    data = {
        "name": name,
        "question": f"Which of these policies is the best: {', '.join(policies)}?",
        "model": {"name": next(iter(places.values()))},
        "seeds": 1,
        "arms": arms,
        "caveats": [ONE_RUN_EACH],
        "memory_gb": 1.0 + GIB_A_BYTE * max(sizes, default=0),
        **settings,
    }
    return parse_spec(Study, data, where="compare")


def find_policy(path: str) -> str:
    """If `path` is a directory, such as a finished run, returns the directory of its saved model. If not, `path` is a
    name on the hub and is returned unchanged."""
    return str(find_saved_model(user_path(path))) if user_path(path).is_dir() else path


def weigh_policy(directory: Path) -> int:
    """Returns the total size in bytes of the weight files in a directory."""
    return sum(file.stat().st_size for file in directory.glob("*.safetensors"))


def name_policies(texts: Sequence[str]) -> dict[str, str]:
    """Reads texts of the form `[NAME=]SOURCE`, and returns the source of each policy by its name. Without `NAME`, a
    policy is named after its directory (`dpo` for `runs/dpo/final`) or after its model on the hub. Raises `UserError`
    if two policies have the same name."""
    policies: dict[str, str] = {}
    for text in texts:
        name, sign, path = text.partition("=")
        if not sign or user_path(text).exists():
            path = text
            parts = [part for part in user_path(text).parts if part != FINAL]
            name = parts[-1] if parts else text
        if name in policies:
            raise UserError(
                f"Two policies are called {name!r}. Give each a name: first={policies[name]} second={path}."
            )
        policies[name] = path
    return policies


def refuse_changed_policies(study: Study, directory: Path) -> None:
    """Writes the checksums of the policies into the directory. Raises `UserError` if a policy differs from its recorded
    checksums, because the results in the directory were measured before the policy changed."""
    path = directory / POLICIES_FILE
    known = read_json(path) if path.exists() else {}
    if not isinstance(known, dict):
        raise UserError(f"{path} is damaged. Put back the file as preflab wrote it, or name another --output.")
    digests = {
        arm.policy: file_digests(user_path(arm.policy))
        for arm in study.arms.values()
        if arm.policy is not None and user_path(arm.policy).is_dir()
    }
    for name, digest in digests.items():
        if known.get(name, digest) != digest:
            raise UserError(
                f"{name} has changed since it was measured in {directory}. Name another --output, or measure all "
                "policies again with --fresh."
            )
    if {**known, **digests} != known:
        directory.mkdir(parents=True, exist_ok=True)
        write_json(path, {**known, **digests})
