"""Checks before any training that the testbed, the models, the rewards and the evaluators of an arm can be opened."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from preflab.arm.data import check_training_rows
from preflab.arm.open import pick_device
from preflab.arm.served import check_served, open_served
from preflab.arm.spec import STAGE, Arm, is_served, saved_models
from preflab.errors import UserError
from preflab.evaluation.base import EvaluatorSpec
from preflab.evaluation.bench import check_splits
from preflab.evaluation.programs import check_public
from preflab.models.heads import load_reward_model
from preflab.models.load import load_directory
from preflab.models.locate import locate_policy
from preflab.rewards.base import RewardSpec
from preflab.spec import Context
from preflab.testbeds.base import Testbed, require_testbed


class ArmChecker:
    """Checks arms one after another. A testbed, model, reward or evaluator that several arms share is opened only once.
    The output of a stage is not checked, because the stage might not have run yet."""

    def __init__(self, stages: Path, stack: ExitStack) -> None:
        self.stages = stages
        self.stack = stack
        self.context = Context()
        self._testbeds: dict[str, Testbed] = {}
        self._checked: set[str] = set()

    def check(self, arm: Arm) -> None:
        """Opens the testbed, the models, the rewards and the evaluators of one arm. Raises `UserError`, which names the
        arm, if one of them cannot be opened or lacks something that the arm needs."""
        try:
            self._check(arm)
        except UserError as error:
            raise UserError(f"`{arm.name}` cannot run: {error}") from error

    def _check(self, arm: Arm) -> None:
        pick_device(arm.device)
        testbed = self._open_testbed(arm)
        if not (arm.preferences or "").startswith(STAGE) and self._is_new("rows", arm):
            check_training_rows(arm, self.stages, testbed)
        if arm.evaluators:
            check_public(arm.evaluation, testbed)
            check_splits(testbed, arm.evaluation, arm.measure)
        for part in (*arm.evaluators.values(), arm.reward, arm.cost):
            self._open(part, arm, testbed)
        if is_served(arm):
            if self._is_new(f"{arm.policy} {arm.endpoint} {arm.evaluation}", arm):
                check_served(arm, open_served(arm), testbed)
            return
        for path in (arm.init, arm.policy):
            if path is not None and not path.startswith(STAGE) and self._is_new(path, arm):
                load_directory(locate_policy(path))
        for path in saved_models(arm.method):
            if not path.startswith(STAGE) and self._is_new(path, arm):
                load_reward_model(Path(path))

    def _open_testbed(self, arm: Arm) -> Testbed:
        key = arm.testbed.model_dump_json()
        if key not in self._testbeds:
            opened = self.stack.enter_context(arm.testbed.open(self.context))
            self._testbeds[key] = require_testbed(opened)
        return self._testbeds[key]

    def _open(self, part: EvaluatorSpec | RewardSpec | None, arm: Arm, testbed: Testbed) -> None:
        """Opens and closes a reward, a cost or an evaluator. Skips a `part` that uses the output of a stage, because
        the stage might not have run yet. Also skips a `part` that was checked before."""
        if part is None or any(path.startswith(STAGE) for path in part.saved_models()):
            return
        if self._is_new(f"{type(part)} {part.model_dump_json()}", arm):
            with part.open(replace(self.context, testbed=testbed)):
                pass

    def _is_new(self, what: str, arm: Arm) -> bool:
        """Records that an object was checked with the arm's testbed. Returns True if this is the first check of the
        object. `what`: a text that identifies the object. If `what` is "rows", the object is the arm's training rows.
        These rows are checked once for each method and preference file, because the rows depend on both."""
        rows = arm.model_dump_json(include={"testbed", "method", "preferences"}) if what == "rows" else ""
        key = f"{what} {arm.testbed.model_dump_json()} {rows}"
        known = key in self._checked
        self._checked.add(key)
        return not known
