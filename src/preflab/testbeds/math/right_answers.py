"""Reads the right final answers of a split from the answers in the data."""

from __future__ import annotations

from preflab.errors import UserError
from preflab.testbeds.base import Testbed
from preflab.testbeds.math.final import find_right_answer
from preflab.testbeds.math.verifier import Verifier
from preflab.types import Split


def read_right_answers(testbed: Testbed, split: Split, verifier: Verifier) -> dict[str, str]:
    """Returns a mapping from prompt id to the right final answer, for all prompts of a split. Raises `UserError` if an
    answer in the data does not mark a final answer, if a prompt has no answer, or if two answers to one prompt have
    different final answers."""
    rights: dict[str, str] = {}
    for demonstration in testbed.demonstrations(split):
        name = demonstration.prompt.id
        right = find_right_answer(demonstration.completion.text)
        if right is None:
            raise UserError(
                f"The answer to prompt {name!r} in the {split} split of {testbed.name} marks no final answer. Write the final "
                r"answer in \boxed{}, after ####, or as the whole answer."
            )
        if name in rights and verifier.verify(rights[name], right) != "passed":
            raise UserError(
                f"Prompt {name!r} in the {split} split of {testbed.name} has two different right answers, "
                f"{rights[name]!r:.60} and {right!r:.60}. Remove the wrong answer."
            )
        rights.setdefault(name, right)
    prompts = testbed.prompts(split)
    missing = [prompt.id for prompt in prompts if prompt.id not in rights]
    if missing:
        raise UserError(
            f"Prompt {missing[0]!r} in the {split} split of {testbed.name} has no right answer ({len(missing)} of "
            f"{len(prompts)} prompts have no right answer). Solutions to such prompts cannot be verified. Add right "
            "answers, or remove the prompts."
        )
    return rights
