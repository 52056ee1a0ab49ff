"""Writes a study file for the user's data and model, with a comment on every part that users change. The arms and the
evaluator follow from what the data hold: pairs, answers to imitate, or problems with tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import yaml

from preflab.errors import UserError
from preflab.methods.cost import DataSize
from preflab.spec import Context
from preflab.testbeds.base import Testbed, count_rows, require_testbed
from preflab.testbeds.jsonl import Jsonl
from preflab.text import counted

Judged = Literal["tests", "pairs", "neither"]


@dataclass(frozen=True)
class FirstStudy:
    """The user's wishes. `evaluator`: the directory of a reward model that was trained elsewhere; '' if there is no such
    model."""

    name: str
    data: str
    model: str
    evaluator: str = ""


@dataclass(frozen=True)
class DataFacts:
    """What the data hold. `judged`: by what the answers can be judged. `size`: how many training rows there are."""

    judged: Judged
    size: DataSize


def write_first_file(wanted: FirstStudy) -> str:
    """The text of the study file. Raises `UserError` if the data cannot be read, or if neither the data nor the user says
    how an answer is judged."""
    facts = inspect_data(wanted)
    if facts.judged == "neither" and not wanted.evaluator:
        raise UserError(
            f"{wanted.data} holds neither pairs nor tests, so that nothing says which answer is better. Name a reward model "
            "that was trained elsewhere (--evaluator DIR), or give data with pairs or tests."
        )
    counts = ", ".join(
        counted(count, noun)
        for count, noun in (
            (facts.size.prompts, "prompt"),
            (facts.size.demonstrations, "demonstration"),
            (facts.size.pairs, "pair"),
        )
        if count
    )
    parts = [
        f"# Which method makes most of {wanted.data}? Written by `preflab init`: change what you like, then look at the plan,\n"
        f"# which trains nothing: preflab study FILE --plan",
        _lines(schema_version=1, name=wanted.name, question=f"Which method makes most of this model on {wanted.data}?"),
        "# The model that every arm starts from. {name: …, lora: {rank: 16}} trains adapters, which takes less memory.",
        _lines(model=wanted.model),
        f"# The data: {counts} to train on; a tenth each is kept for validation and test.",
        _lines(testbed=_testbed(facts, wanted, "policy")),
        *_evaluator(facts, wanted),
        "# How arms are measured. Fewer than five seeds give a verdict that is called preliminary.",
        _lines(seeds=5, evaluation={"samples": 4, "max_new_tokens": 128}),
        "# One budget for all arms makes them comparable; without one each trains its epochs. In FLOP:\n"
        "# budget: {unit: compute, amount: 1.0e15}\n"
        "# Stages run once a seed, and all arms share them.",
        _lines(stages=_stages(facts, wanted)),
        "# The arms that are compared; `preflab train METHOD --help` lists the settings of a method.",
        _lines(arms=_arms(facts)),
        "# The comparisons that were named beforehand count most.",
        _lines(comparisons=[["dpo" if facts.size.pairs else "ppo", "more-sft"]]),
    ]
    return "\n".join(parts)


def inspect_data(wanted: FirstStudy) -> DataFacts:
    """Opens the data and counts what they hold. If the data have tests, the tests judge in the sandbox."""
    try:
        with Jsonl(data=wanted.data).open(Context()) as opened:
            return _count(require_testbed(opened))
    except UserError as error:
        if "`judge`" not in str(error):
            raise
    with Jsonl(data=wanted.data, judge="sandbox").open(Context()) as opened:
        return _count(require_testbed(opened))


def _count(testbed: Testbed) -> DataFacts:
    pairs = count_rows(testbed.preferences, "train") or 0
    demonstrations = count_rows(testbed.demonstrations, "train") or 0
    judged: Judged = "tests" if testbed.tested else "pairs" if pairs else "neither"
    return DataFacts(judged, DataSize(len(testbed.prompts("train")), demonstrations, pairs))


def _testbed(facts: DataFacts, wanted: FirstStudy, part: str) -> dict[str, object]:
    """The testbed's fields. If pairs judge, the policies get one part of the data and the evaluator gets another."""
    judge = {"judge": "sandbox"} if facts.judged == "tests" else {}
    parted = {"part": part} if facts.judged == "pairs" and not wanted.evaluator else {}
    return {"kind": "jsonl", "data": wanted.data, **judge, **parted}


def _evaluator(facts: DataFacts, wanted: FirstStudy) -> list[str]:
    if wanted.evaluator:
        model = {"kind": "reward-model", "model": {"path": wanted.evaluator}}
        return ["# The judge of all arms: a reward model that no arm learns from.", _lines(evaluator=model)]
    if facts.judged == "tests":
        return ["# The judge of all arms: tests that no arm saw.", _lines(evaluator="hidden-tests")]
    model = {"kind": "reward-model", "model": {"path": "stage:evaluator"}}
    words = "# The judge of all arms: a reward model trained on 30% of the pairs (`part: evaluator`), which no arm learns from."
    return [words, _lines(evaluator=model)]


def _stages(facts: DataFacts, wanted: FirstStudy) -> dict[str, object]:
    stages: dict[str, object] = {}
    if facts.judged == "pairs" and not wanted.evaluator:
        stages["evaluator"] = {"testbed": _testbed(facts, wanted, "evaluator"), "method": {"kind": "rm"}}
    if facts.size.demonstrations:
        stages["sft"] = {"method": {"kind": "sft"}}
    if facts.size.pairs:
        stages["rm"] = {**_start(facts), "method": {"kind": "rm"}}
    return stages


def _start(facts: DataFacts) -> dict[str, object]:
    return {"init": "stage:sft"} if facts.size.demonstrations else {}


def _arms(facts: DataFacts) -> dict[str, object]:
    """The arms: SFT as the baseline, and SFT that is trained further; DPO if there are pairs; PPO on the tests, or on a
    reward model that is trained on the pairs."""
    arms: dict[str, object] = {}
    if facts.size.pairs:
        arms["dpo"] = {**_start(facts), "method": {"kind": "dpo"}}
    reward = (
        "tests" if facts.judged == "tests" else {"kind": "learned", "path": "stage:rm"} if facts.size.pairs else None
    )
    if reward is not None:
        decoding = {"decoding": {"max_new_tokens": 128}}
        arms["ppo"] = {**_start(facts), "reward": reward, "method": {"kind": "ppo", "rollouts": 64, **decoding}}
    if facts.size.demonstrations:
        arms["more-sft"] = {**_start(facts), "method": {"kind": "sft"}}
        arms["sft"] = {"init": "stage:sft", "policy": "stage:sft", "baseline": True}
    return arms


def _lines(**fields: object) -> str:
    """The fields as YAML, with each innermost mapping on one line."""
    style = {name: None if isinstance(value, dict | list) else False for name, value in fields.items()}
    return "".join(
        yaml.safe_dump({name: value}, sort_keys=False, default_flow_style=style[name], width=120, allow_unicode=True)
        for name, value in fields.items()
    )
