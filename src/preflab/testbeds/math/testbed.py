"""Opens mathematical problems with final answers. The records have the form of GSM8K, the form of MATH, or any other
form with a question and an answer."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from preflab.data.files import list_splits, part_split
from preflab.data.row import DialogueRow
from preflab.errors import UserError
from preflab.spec import Context
from preflab.testbeds.base import SPLITS, Testbed, TestbedSpec
from preflab.testbeds.dialogues import Dialogues
from preflab.testbeds.jsonl import Jsonl
from preflab.testbeds.math.final import drop_calculations, find_right_answer
from preflab.testbeds.math.judging import MathJudge
from preflab.testbeds.math.verifier import SECONDS, open_verifier
from preflab.types import Completion, Demonstration, Problem, Prompt, Split, Test, Turn

OwnSplit = Annotated[float | str | None, Field(union_mode="left_to_right")]


class MathProblems(TestbedSpec):
    r"""Mathematical problems. Only the final answer of a solution is verified.

    `data`: a file, a folder or a hub name. A record of GSM8K is `{question, answer}`, and its answer ends in `#### 42`.
    A record of MATH is `{problem, solution}`. Its solution contains a `\boxed{}`, and its field `level` is the
    difficulty. Any other record with a question and an answer that the testbed `jsonl` can read is allowed too.
    `validation`: another source, or a fraction of `data`. `test`: another source, or a fraction of `data`. By default,
    `test` is the split `test` of `data` if this split exists, and a tenth of `data` otherwise. `rows`: the largest
    number of records that are read from each source. `instruction`: a text that is added to each question. `unmarked`:
    whether the last number of a solution counts as the final answer if the solution does not mark a final answer.
    `seconds`: the time limit for the verification of an answer.
    """

    evaluator: ClassVar[str | None] = "final-answer"
    kind: Literal["math"] = "math"
    data: str
    validation: float | str = Field(default=0.1, union_mode="left_to_right")
    test: OwnSplit = None
    rows: Annotated[int, Field(ge=1)] | None = None
    instruction: str = ""
    unmarked: bool = False
    seconds: Annotated[float, Field(gt=0)] = SECONDS

    def locate(self, prompt: Prompt) -> str:
        return self._read_data().locate(prompt)

    @contextmanager
    def open(self, context: Context) -> Generator[Dialogues]:
        """Opens the testbed. Raises `UserError` if the data are missing, damaged or empty, or have no final answers."""
        with self._read_data().open(context) as read, open_verifier(self.seconds) as verifier:
            rows, dropped = self._make_rows(read)
            notes = list(read.notes)
            if dropped:
                notes.append(f"{dropped} problems were left out because their solutions do not mark a final answer.")
            judge = MathJudge(verifier, unmarked=self.unmarked)
            yield Dialogues("math", rows, part="train", identity={"source": self.data}, notes=notes, judge=judge)

    def _read_data(self) -> Jsonl:
        """Returns a `jsonl` testbed that reads the records of this testbed."""
        test = self.test
        if test is None:
            name, split = part_split(self.data)
            test = f"{name}#test" if not split and "test" in list_splits(name) else 0.1
        return Jsonl(data=self.data, validation=self.validation, test=test, rows=self.rows)

    def _make_rows(self, read: Testbed) -> tuple[dict[Split, list[DialogueRow]], int]:
        """Returns the problems of each split, and the number of problems that were left out because they have no final
        answer. Raises `UserError` if a split has no problems left."""
        rows: dict[Split, list[DialogueRow]] = {}
        dropped = 0
        for split in SPLITS:
            demonstrations = read.demonstrations(split)
            rows[split] = list(self._make_problems(demonstrations))
            dropped += len(demonstrations) - len(rows[split])
            if not rows[split]:
                raise UserError(
                    f"{self.data}: no solution of the {split} split marks a final answer. Write final answers in "
                    "\\boxed{}, after ####, or as the whole answer."
                )
        return rows, dropped

    def _make_problems(self, demonstrations: Iterable[Demonstration]) -> Iterable[DialogueRow]:
        for prompt, solution in ((each.prompt, each.completion.text) for each in demonstrations):
            right = find_right_answer(solution)
            if right is not None:
                tests = (Test(None, right),)
                problem = Problem(prompt.id, self._instruct(prompt.turns), prompt.level, (), tests)
                yield DialogueRow(problem, Completion(drop_calculations(solution)))

    def _instruct(self, turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
        """Returns the turns with the instruction added to the last turn."""
        if not self.instruction:
            return turns
        return (*turns[:-1], replace(turns[-1], content=f"{turns[-1].content}\n\n{self.instruction}"))
