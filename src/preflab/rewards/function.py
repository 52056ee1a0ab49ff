"""A reward that calls the user's function `def reward(prompts, completions): return [...]`, named `module:function`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from preflab.endings import blaming
from preflab.meter import Meter
from preflab.rewards.base import Reward, RewardSpec, check_scores
from preflab.spec import Context
from preflab.targets import load_function
from preflab.types import Completion, Prompt


class Function(RewardSpec):
    """The settings of a reward that calls the user's function. `target`: the function as `module:function`; the module
    is in the current directory or in an installed package.

    The function receives a list of `preflab.types.Prompt` (`id`, `turns` with `role` and `content`) and a list of the
    answers' texts, and returns one number for each answer. Set `deterministic` to false if the function may return
    different scores for the same answer.
    """

    kind: Literal["function"] = "function"
    target: str
    deterministic: bool = True

    def check_names(self) -> None:
        load_function(self.target, "reward function")

    @contextmanager
    def open(self, context: Context) -> Generator[FunctionReward]:
        """Loads the function. Raises `UserError` if there is no such function. The error names the part of
        `target` that is wrong."""
        function = load_function(self.target, "reward function")
        yield FunctionReward(self.target, function, context.meter, self.deterministic)


@dataclass(frozen=True)
class FunctionReward(Reward):
    """Calls the user's function, which scores answers."""

    target: str
    function: Callable[[list[Prompt], list[str]], Any]
    meter: Meter
    deterministic: bool

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
        """Returns the function's scores. Raises `UserError` if the function fails or does not return one finite number
        for each answer."""
        source = f"The reward function {self.target!r}"
        with blaming(source):
            answer = self.function(list(prompts), [completion.text for completion in completions])
            # If the user's function is a generator, its code runs only here, and can fail here.
            scores = check_scores(answer, len(completions), source)
        self.meter.labelled(len(completions))
        return scores
