"""How long a study should take here: two short timings of its model, then arithmetic."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from preflab.spec import Context
from preflab.study.plan import Study, Task

STARTING = 3.0  # seconds until an arm has its model and its data
ROLLOUT = 5  # an answer that is sampled, scored, and learnt from by actor and critic, in answers trained on


@dataclass(frozen=True)
class Speed:
    """Effective FLOP/s of a training step and of a forward pass, N, and the mean prompt length of the testbed."""

    training: float
    forward: float
    parameters: int
    prompt_tokens: float
    demonstrations: int

    @classmethod
    def measured(cls, study: Study) -> Speed:
        """Times one batch of the study's model on its testbed's prompts."""
        import torch

        from preflab.batch import collate
        from preflab.models import forward
        from preflab.models.load import load

        torch.set_num_threads(study.threads)
        with study.testbed.open(Context()) as testbed:
            words = testbed.words() if hasattr(testbed, "words") else ()
            prompts = list(testbed.prompts("train"))
        shape = study.model.tiny.model_copy(update={"words": words})
        lm = load(study.model.model_copy(update={"lora": None, "tiny": shape}), seed=0)
        ids = [lm.encode_prompt(prompt) for prompt in prompts[:32]]
        batch = collate(ids, [[lm.end_ids[0]] * 16] * len(ids))

        def timed(train: bool) -> float:
            started = time.perf_counter()
            with torch.set_grad_enabled(train):
                logprobs = forward.token_logprobs(lm.model, batch).logprobs
                if train:
                    logprobs.sum().backward()
            return time.perf_counter() - started

        timed(True)  # the first call allocates
        flops = 2.0 * lm.size * batch.tokens
        return cls(
            training=3 * flops / timed(True),
            forward=flops / timed(False),
            parameters=lm.size,
            prompt_tokens=batch.tokens / len(ids),
            demonstrations=len(prompts),
        )

    def seconds(self, task: Task) -> float:
        """Training plus measuring. An arm under a compute budget is taken to share it with its stages half and half; without
        one a method learns from steps x rollouts answers of its own, or passes over the training prompts."""
        arm, method = task.arm, task.arm.method
        if method is None or (not hasattr(method, "optim") and not hasattr(method, "draw")):
            training = 0.0  # nothing is trained
        elif arm.budget is not None and arm.budget.unit == "compute":
            training = arm.budget.amount / 2 / self.training
        else:
            training = self._rows(method) * self.prompt_tokens * 6 * self.parameters / self.training
        return STARTING + training + self._measuring(arm.evaluation.samples) * (arm.measure == "test")

    def _rows(self, method: Any) -> float:
        """How many trained answers the method's work is worth."""
        if hasattr(method, "rollouts"):
            return ROLLOUT * method.steps * method.rollouts
        return self.demonstrations * (
            getattr(method, "epochs", 0) or getattr(getattr(method, "draw", None), "samples", 0)
        )

    def _measuring(self, samples: int) -> float:
        """Two decodings of the test split and the validation grid; a sampled token costs about ten forward ones."""
        tokens = 500 * samples * 3 * self.prompt_tokens
        return 2.0 * self.parameters * tokens / self.forward
