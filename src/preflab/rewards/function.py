"""Your function as a reward: `def reward(prompts, completions): return [...]`, named `module:function`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from preflab.endings import Stopped
from preflab.errors import UserError
from preflab.meter import Meter
from preflab.rewards.base import Reward, RewardSpec, check_scores
from preflab.spec import Context
from preflab.targets import load_function, where_raised
from preflab.types import Completion, Prompt


class Function(RewardSpec):
    """`target`: `module:function`, from the current directory or an installed package.

    The function receives a list of `preflab.types.Prompt` (`id`, `turns` with `role` and `content`) and a list of the
    answers' texts, and returns one number for each answer. Set `deterministic` to false if the same answer may get another
    score the next time.
    """

    kind: Literal["function"] = "function"
    target: str
    deterministic: bool = True

    def check_names(self) -> None:
        load_function(self.target, "reward function")

    @contextmanager
    def open(self, context: Context) -> Generator[FunctionReward]:
        """Loads the function; raises `UserError` that says which part of the function's name is wrong."""
        function = load_function(self.target, "reward function")
        yield FunctionReward(self.target, function, context.meter, self.deterministic)


@dataclass(frozen=True)
class FunctionReward(Reward):
    """The opened reward."""

    target: str
    function: Callable[[list[Prompt], list[str]], Any]
    meter: Meter
    deterministic: bool

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
        """Returns the function's scores; raises `UserError` if the function fails or does not give one finite number per
        answer."""
        source = f"The reward function {self.target!r}"
        try:
            answer = self.function(list(prompts), [completion.text for completion in completions])
            scores = check_scores(answer, len(completions), source)  # a generator does its work only now
        except (UserError, Stopped):
            raise
        except (Exception, SystemExit) as error:
            raise UserError(f"{source} failed at {where_raised(error)}: {type(error).__name__}: {error}") from error
        self.meter.labelled(len(completions))
        return scores
