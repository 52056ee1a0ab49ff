"""Estimates how long a study's runs take on this machine, from the methods' costs and from timings of the models."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from preflab.arm.data import read_answers
from preflab.arm.match import Match
from preflab.arm.planned import PlannedRun
from preflab.arm.spec import STAGE, Arm, is_served, saved_models
from preflab.errors import UserError
from preflab.evaluation.evaluate import KEPT_ANSWERS
from preflab.evaluation.programs import check_public
from preflab.evaluation.served import count_requests
from preflab.methods.cost import Cost, DataSize
from preflab.methods.spec import SCORERS
from preflab.models.spec import ModelSpec
from preflab.spec import Context
from preflab.study.forecast.speed import Examples, Speed, judging_seconds, measure_speed
from preflab.study.plan import plan_run
from preflab.study.say import Say, keep_silent
from preflab.study.spec import Study
from preflab.testbeds.base import SPLITS, Testbed, count_rows, require_testbed
from preflab.types import Ranking, Rated, Split

FORK_SECONDS = 0.5
"""The seconds from the start of an arm's process to the start of its work, plus the seconds from the arm's result to
the exit of the process."""
SHARING = 1.3
"""The factor by which work takes longer if other runs share the machine. On two cores, benchmarks/sharing.py measured
the factors 1.50 for sampling, 1.24 for training and 1.18 for forward passes, whose mean is about 1.3."""
DISTINCT = 0.6
"""The fraction of sampled answers that are judged. Equal answers to a problem are judged only once. In `quickstart` at
temperatures .2 to 1, this fraction was .28 to .79 with six samples of each problem, and .62 to .91 with two samples."""
KL_READS = 3
"""The number of forward passes that measure the KL and the entropy of a sample. The policy and the starting model need
one pass each for the KL, and the policy needs one pass for the entropy."""


@dataclass(frozen=True)
class Estimate:
    """Estimates the seconds of a study's runs from timings on this machine. `speeds`: the speed of each model.
    `sizes`: the size of the testbed's data in each split. `opening`: the seconds that a run takes to open its data.
    `judging`: the seconds that judging one program takes. `sharing`: the factor by which work takes longer because runs
    share the machine."""

    study: Study
    speeds: Mapping[ModelSpec, Speed]
    sizes: Mapping[Split, DataSize]
    opening: float
    judging: float
    sharing: float

    @classmethod
    def measured(cls, study: Study, arms: Sequence[Arm], at_once: int, say: Say = keep_silent) -> Estimate:
        """Times the study's models, data and judge on this machine. `at_once`: the number of runs that share the
        machine. `say`: called with a line of text before each timing. Raises `UserError` if an arm's evaluation needs
        public tests that the testbed does not have."""
        say("Plan: measures how long the data take to open, and the speed of the judge")
        started = time.perf_counter()
        with study.testbed.open(Context()) as opened:
            testbed = require_testbed(opened)
            for arm in arms:
                check_public(arm.evaluation, testbed)
            sizes: dict[Split, DataSize] = {split: size_of(testbed, split) for split in SPLITS}
            opening = time.perf_counter() - started
            examples = Examples.of(testbed, with_answers=sizes["train"].demonstrations > 0)
            judging = judging_seconds(testbed, examples)
        models = list(dict.fromkeys(arm.model for arm in arms))
        speeds: dict[ModelSpec, Speed] = {}
        for number, model in enumerate(models, 1):
            lora = "" if model.lora is None else f" with LoRA of rank {model.lora.rank}"
            say(f"Plan: measures the speed of the model {model.name}{lora} ({number} of {len(models)})")
            speeds[model] = measure_speed(model, examples, study)
        return cls(study, speeds, sizes, opening, judging, SHARING if at_once > 1 else 1.0)

    def seconds(self, run: PlannedRun) -> float:
        """Returns the expected seconds of one run: opening the data and the model, training, the evaluations during
        training, and the final measurement. If the policy is served, the time of its answers is unknown and is not
        counted."""
        if is_served(run.spec):
            return FORK_SECONDS + self.opening
        speed = self.speeds[run.spec.model]
        cost = self.cost(run)
        training = self.training_seconds(run.spec, cost, speed)
        if run.spec.method is not None and run.spec.method.product in SCORERS:
            measuring = self.ordering_seconds(run.spec, speed)
        else:
            measuring = self.look_seconds(run.spec, cost, speed) + self.measuring_seconds(run.spec, speed)
        return FORK_SECONDS + self.opening + speed.loading + self.sharing * (training + measuring)

    def requests(self, arm: Arm) -> int:
        """Returns the largest number of requests that a run sends to the server of its policy, without repeated
        requests; 0 if the policy is not served."""
        if not is_served(arm):
            return 0
        test, validation = self.sizes["test"].prompts, self.sizes["validation"].prompts
        return count_requests(arm.evaluation, test=test, validation=validation, measure=arm.measure)

    def match_seconds(self, match: Match) -> float:
        """Returns the expected seconds of a match. If a saved model compares the answers, the model's forward passes
        over both answers of each pair are counted. The time of any other evaluator is unknown and is not counted."""
        seconds = FORK_SECONDS + self.opening
        if not saved_models(match.evaluator):
            return seconds
        spec, speed = self.study.evaluation, self.speeds[self.study.arms[match.first].model or self.study.model]
        prompts = min(self.sizes["test"].prompts, spec.prompts or self.sizes["test"].prompts)
        reads = 2 * prompts * (1 if spec.is_greedy else min(spec.samples, KEPT_ANSWERS))
        return seconds + speed.loading + self.sharing * reads * speed.forward

    def cost(self, run: PlannedRun) -> Cost:
        """Returns the cost of a run's method under the run's budget. With a budget of compute, the cost is scaled to
        the FLOP that remain after the run's stages. With a budget of labels, the cost is reduced if the method would
        buy more labels than the budget allows."""
        arm = run.spec
        if arm.method is None:
            return Cost()
        cost = arm.method.cost(self.data_size(arm))
        if arm.budget is None:
            return cost
        if arm.budget.unit == "labels":
            bought = labels_bought(arm, cost)
            return cost.times(min(1.0, arm.budget.amount / bought)) if bought else cost
        flops = self.flops(arm, cost)
        charged = sum(self.stage_flops(need.name) for need in run.needs)
        return cost.times(max(0.0, arm.budget.amount - charged) / flops) if flops else cost

    def stage_flops(self, name: str) -> float:
        """Returns the expected FLOP of a stage."""
        arm = plan_run(self.study, name, self.study.stages[name], 0, Path(), measure="none").spec
        return 0.0 if arm.method is None else self.flops(arm, arm.method.cost(self.data_size(arm)))

    def flops(self, arm: Arm, cost: Cost) -> float:
        """Returns the FLOP of training a model with N parameters. A forward pass and sampling cost 2N for each token,
        and an update costs 6N. If the reward or the cost is a learned model, its forward passes are included."""
        scored = cost.scored if saved_models(arm.reward) else 0.0
        costed = cost.costed if saved_models(arm.cost) else 0.0
        read = cost.drawn + cost.forward + scored + costed + 3 * (cost.trained + cost.critic_trained)
        return read * self.speeds[arm.model].forward_flops

    def data_size(self, arm: Arm) -> DataSize:
        """Returns the size of the data that a method trains on. The data come from the testbed, a stage or a file. A
        stage makes at most one pair or ranking for each prompt, and this upper limit is the assumed number."""
        source, size = arm.preferences, self.sizes["train"]
        if source is None:
            return size
        stage = self.study.stages.get(source.removeprefix(STAGE)) if source.startswith(STAGE) else None
        if stage is None or stage.method is None:
            return size_with_file(size, Path(source))
        cost = stage.method.cost(size)
        made = cost.made or size.prompts
        answers = round(cost.scored / made) if stage.method.product == "rankings" and made else 2
        return DataSize(size.prompts, size.demonstrations, round(made), answers)

    def training_seconds(self, arm: Arm, cost: Cost, speed: Speed) -> float:
        scoring, costing = (speed.forward if saved_models(part) else self.judging for part in (arm.reward, arm.cost))
        scored = cost.scored * scoring + cost.costed * costing
        training = (cost.trained + cost.critic_trained) * speed.training
        return cost.drawn * speed.sampling + scored + training + cost.forward * speed.forward

    def look_seconds(self, arm: Arm, cost: Cost, speed: Speed) -> float:
        """Returns the seconds of the evaluations on the validation split during training."""
        if not arm.evaluators or not cost.trained:
            return 0.0
        spec = arm.evaluation
        answers = arm.looks * min(self.sizes["validation"].prompts, spec.look_prompts) * spec.look_samples
        reads = min(answers, arm.looks * spec.kl_samples) * KL_READS
        return answers * (speed.sampling + self.grading(arm, speed)[0]) + reads * speed.forward

    def ordering_seconds(self, arm: Arm, speed: Speed) -> float:
        """Returns the seconds in which a reward model scores both answers of all pairs. It scores the pairs of the
        validation split at each evaluation during training and once at the end, and the pairs of the test split at the
        end."""
        pairs = {split: arm.evaluation.count_pairs(size.pairs) for split, size in self.sizes.items()}
        read = (arm.looks + 1) * pairs["validation"] + pairs["test"]
        return 2 * read * speed.forward

    def measuring_seconds(self, arm: Arm, speed: Speed) -> float:
        """Returns the seconds of measuring a trained policy. The policy gives `validation_samples` answers to each
        validation prompt at each temperature of the grid. If the test split is measured, the policy answers each test
        prompt at the chosen temperature and at temperature 1. It gives `samples` answers at each temperature, but only
        one answer with greedy decoding. If `validation` is true in the evaluation settings, the policy answers the
        validation prompts in the same way."""
        spec = arm.evaluation
        if arm.measure == "none" or not arm.evaluators:
            return 0.0
        prompts = {split: min(size.prompts, spec.prompts or size.prompts) for split, size in self.sizes.items()}
        measured = prompts["test"] + prompts["validation"] * spec.validation
        tested = measured * (spec.samples + (1 if spec.is_greedy else spec.samples)) * (arm.measure == "test")
        answers = prompts["validation"] * len(spec.temperatures) * spec.validation_samples + tested
        drawn = answers * arm.inference.n
        selected = drawn if drawn > answers else 0
        filtered = tested * bool(spec.submissions) * (1 + spec.clusters)
        reads = min(spec.kl_samples, tested) * KL_READS * (arm.init is not None)
        main, *others = self.grading(arm, speed)
        judging = (selected + filtered) * self.judging
        return drawn * speed.sampling + answers * main + tested * sum(others) + judging + reads * speed.forward

    def grading(self, arm: Arm, speed: Speed) -> list[float]:
        """Returns the seconds that each evaluator takes to grade one answer, with the main evaluator first. Each model
        of an evaluator needs one forward pass. Some evaluators also judge the answer as a program."""
        judging = DISTINCT * self.judging
        return [
            len(saved_models(evaluator)) * speed.forward + evaluator.judges_programs * judging
            for evaluator in arm.evaluators_in_turn.values()
        ]


def labels_bought(arm: Arm, cost: Cost) -> float:
    """Returns the number of labels that a run buys. The scores of a learned reward are free. The labels of pairs that a
    stage has made are also free."""
    data = 0.0 if (arm.preferences or "").startswith(STAGE) else cost.labels
    return data + (cost.scored if arm.reward is not None and arm.reward.buys_labels else 0.0)


def size_of(testbed: Testbed, split: Split) -> DataSize:
    """Returns the size of a testbed's data in a split."""
    reads = (testbed.demonstrations, testbed.preferences, testbed.rated)
    demonstrations, pairs, rated = (count_rows(read, split) or 0 for read in reads)
    return DataSize(len(testbed.prompts(split)), demonstrations, pairs, rated=rated)


def size_with_file(size: DataSize, path: Path) -> DataSize:
    """Returns the size of the training data if the answers in a file or a directory replace the testbed's answers.
    `size`: the size of the testbed's data. If a file cannot be read, no answers are counted, because the run itself
    reports this error."""
    try:
        rows = read_answers(path)
    except (OSError, UserError):
        rows = []
    rated = sum(1 for row in rows if isinstance(row, Rated))
    ranked = [len(row.completions) for row in rows if isinstance(row, Ranking)]
    answers = round(sum(ranked) / len(ranked)) if ranked else 2
    return DataSize(size.prompts, size.demonstrations, len(rows) - rated, answers, rated)
