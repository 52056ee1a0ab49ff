"""How long a study should take here: short timings of its models and of its judge, then arithmetic."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from preflab.arm.planned import PlannedRun
from preflab.arm.spec import Arm
from preflab.evaluation.programs import check_public
from preflab.models.spec import ModelSpec
from preflab.spec import Context
from preflab.study.spec import Study
from preflab.testbeds.base import SPLITS
from preflab.types import Completion, Demonstration, Problem, Prompt, Split, Test, Verdict

STARTING = 3.0  # seconds until an arm has its model and its data
ROLLOUT = 5  # an answer that is sampled and learnt from by actor and critic, in answers trained on
SAMPLED = 10  # a sampled token, in tokens of a forward pass
TIMED = 16  # rows of a timed batch, programs of a timed judgement
ANSWER = 16  # tokens of an answer where the data have none
TOKENS = 4096  # of a timed batch at most: a paper's micro-batch may be more than this machine holds


@dataclass(frozen=True)
class Speed:
    """Of one model: seconds a trained row and a row of a forward pass take, and what its compute is counted as, in FLOP."""

    training: float
    forward: float
    flops: float


@dataclass(frozen=True)
class Estimate:
    """The models' speeds, the prompts of each split, and the seconds that judging one program takes an arm."""

    speeds: Mapping[ModelSpec, Speed]
    prompts: Mapping[Split, int]
    judging: float

    @classmethod
    def measured(cls, study: Study, arms: Sequence[Arm], at_once: int) -> Estimate:
        """Times a batch of each model on the testbed's demonstrations, and its judge on their programs. `at_once`: how many
        arms share the machine, and so the judge. Raises `UserError` where the testbed has not what an arm's evaluation asks."""
        with study.testbed.open(Context()) as testbed:
            for arm in arms:
                check_public(arm.evaluation, testbed)
            prompts = {split: list(testbed.prompts(split)) for split in SPLITS}
            shown = {row.prompt.id: row for row in testbed.demonstrations("train")}  # one a prompt
            rows = list(shown.values())[:TIMED]
            words = testbed.words() if hasattr(testbed, "words") else ()
            judging = judge_seconds(testbed.judge, prompts["train"], rows) * at_once
        models = [arm.model for arm in arms]
        asked = [row.prompt for row in rows] or prompts["train"][:TIMED]
        answers = [row.completion for row in rows] or [None] * len(asked)
        speeds = {model: model_speed(model, words, asked, answers, study) for model in set(models)}
        return cls(speeds, {split: len(prompts[split]) for split in SPLITS}, judging)

    def seconds(self, run: PlannedRun) -> float:
        """Training plus measuring. An arm under a compute budget is taken to share it with its stages half and half; without
        one a method learns from steps x rollouts answers of its own, or passes over the training prompts."""
        arm, method = run.arm, run.arm.method
        speed = self.speeds[arm.model]
        if method is None or (not hasattr(method, "optim") and not hasattr(method, "draw")):
            training = 0.0  # nothing is trained
        elif arm.budget is not None and arm.budget.unit == "compute":
            training = arm.budget.amount / 2 / speed.flops * speed.training
        else:
            training = self.trained(method) * speed.training
        if method is not None and getattr(arm.reward, "kind", "") == "tests":
            training += self.drawn(method) * self.judging
        return STARTING + training + self.measuring(arm)

    def trained(self, method: Any) -> float:
        """How many trained answers the method's work is worth."""
        if hasattr(method, "rollouts"):
            return ROLLOUT * method.steps * method.rollouts
        drawn = self.drawn(method)
        return drawn + getattr(method, "epochs", 0) * (drawn / method.draw.samples if drawn else self.prompts["train"])

    def drawn(self, method: Any) -> int:
        """How many answers the method draws and has scored."""
        if hasattr(method, "rollouts"):
            return method.steps * method.rollouts
        if not hasattr(method, "draw"):
            return 0
        rounds = getattr(method, "rounds", 0) or getattr(method, "steps", 1)
        return rounds * (method.prompts or self.prompts["train"]) * method.draw.samples

    def measuring(self, arm: Arm) -> float:
        """The grid on the validation split, and for a result two decodings of the test split."""
        spec = arm.evaluation
        limits = {split: min(count, spec.prompts or count) for split, count in self.prompts.items()}
        answers = limits["validation"] * len(spec.temperatures) * spec.validation_samples * (arm.measure != "none")
        tested = limits["test"] * 2 * spec.samples * (arm.measure == "test")
        drawn = (answers + tested) * getattr(arm.method, "n", 1)  # best of n
        judged = drawn + tested * bool(spec.submissions) * (1 + spec.clusters)
        return drawn * SAMPLED * self.speeds[arm.model].forward + judged * self.judging


def model_speed(
    model: ModelSpec,
    words: Sequence[str],
    prompts: Sequence[Prompt],
    answers: Sequence[Completion | None],
    study: Study,
) -> Speed:
    """Times one training step and one forward pass of the model, without its adapters."""
    import torch

    from preflab.arm.open import pick_device
    from preflab.batch import collate
    from preflab.models import forward
    from preflab.models.load import load_model

    torch.set_num_threads(study.threads)
    shape = model.tiny.model_copy(update={"words": words})
    lm = load_model(model.model_copy(update={"lora": None, "tiny": shape}), seed=0, device=pick_device(study.device))
    ends = [lm.encode_completion(answer) if answer else [lm.end_ids[0]] * ANSWER for answer in answers]
    most = min(study.token_budget, TOKENS)
    ends = [end[: most // 2] for end in ends]
    starts = [lm.encode_prompt(prompt)[-most // 2 :] for prompt in prompts]
    longest = max(len(start) + len(end) for start, end in zip(starts, ends, strict=True))
    rows = max(1, most // longest)  # a micro-batch, as in training
    batch = collate(starts[:rows], ends[:rows])

    def timed(train: bool) -> float:
        started = time.perf_counter()
        with torch.set_grad_enabled(train):
            logprobs = forward.token_logprobs(lm.model, batch).logprobs
            if train:
                logprobs.sum().backward()
            logprobs.sum().item()  # waits for the device
        return (time.perf_counter() - started) / len(batch)

    timed(True)  # the first call allocates
    return Speed(timed(True), timed(False), 6.0 * lm.size * batch.tokens / len(batch))


def judge_seconds(
    judge: Callable[[Sequence[tuple[str, Sequence[Test]]]], list[Verdict]],
    prompts: Sequence[Prompt],
    rows: Sequence[Demonstration],
) -> float:
    """Seconds a program, all workers busy; 0 where answers are no programs."""
    tests = {
        prompt.id: (*prompt.public_tests, *prompt.hidden_tests) for prompt in prompts if isinstance(prompt, Problem)
    }
    programs = [(row.completion.text, tests[row.prompt.id]) for row in rows if tests.get(row.prompt.id)]
    programs = programs or [("pass", found) for found in list(tests.values())[:TIMED] if found]
    if not programs:
        return 0.0
    judge([("1", programs[0][1])])  # the first call opens the sandbox
    started = time.perf_counter()
    judge(programs)
    return (time.perf_counter() - started) / len(programs)
