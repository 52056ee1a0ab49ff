"""Writes a first study file for the user's data and model. The file has a comment on every setting that users usually
change.

The arms and the evaluator depend on the data, which are pairs, demonstrations, or problems with tests.
"""

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
    """The user's choices for a first study file. `evaluator`: the directory of a reward model that was trained on other
    data; '' if the user has no such model."""

    name: str
    data: str
    model: str
    evaluator: str = ""


@dataclass(frozen=True)
class DataFacts:
    """Facts about the user's data. `judged`: how the evaluator judges answers: by tests, by a reward model trained on
    pairs, or by neither. `size`: the numbers of training prompts, demonstrations and pairs."""

    judged: Judged
    size: DataSize


def write_first_file(wanted: FirstStudy) -> str:
    """Returns the text of the study file. Raises `UserError` if the data cannot be read. Also raises `UserError` if the
    data have neither pairs nor tests and the user names no evaluator, so that answers cannot be judged."""
    facts = inspect_data(wanted)
    if facts.judged == "neither" and not wanted.evaluator:
        raise UserError(
            f"{wanted.data} has no pairs and no tests that could judge an answer. Name a reward model that was trained on "
            "other data (--evaluator DIR), or give data with pairs or tests."
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
        f"# Which method works best on {wanted.data}? `preflab init` wrote this file. Change it as you like.\n"
        f"# This command prints the plan of the study and trains nothing: preflab study FILE --plan",
        _lines(schema_version=1, name=wanted.name, question=f"Which method improves this model most on {wanted.data}?"),
        "# The model that every arm starts from. {name: …, lora: {rank: 16}} trains adapters, which takes less memory.",
        _lines(model=wanted.model),
        f"# The data: {counts} to train on. One tenth is kept for validation and one tenth for the test.",
        _lines(testbed=_testbed(facts, wanted, "policy")),
        *_evaluator(facts, wanted),
        "# How the arms are measured. With fewer than five seeds, the report calls its verdict preliminary.",
        _lines(seeds=5, evaluation={"samples": 4, "max_new_tokens": 128}),
        "# Without a budget, each arm trains for its epochs. A budget in FLOP gives all arms the same compute:\n"
        "# budget: {unit: compute, amount: 1.0e15}\n"
        "# Stages run once for each seed, and all arms of the seed share their output.",
        _lines(stages=_stages(facts, wanted)),
        "# The arms that are compared; `preflab train METHOD --help` lists the settings of a method.",
        _lines(arms=_arms(facts)),
        "# The pairs of arms that the report compares. Name them before you see results.",
        _lines(comparisons=[["dpo" if facts.size.pairs else "ppo", "more-sft"]]),
    ]
    return "\n".join(parts)


def inspect_data(wanted: FirstStudy) -> DataFacts:
    """Opens the data and counts the rows. If the data have tests but no pairs, the data are opened with the sandbox as
    the judge."""
    try:
        with Jsonl(data=wanted.data).open(Context()) as opened:
            facts, tested = _count(require_testbed(opened)), any("`judge`" in note for note in opened.notes)
    except UserError as error:
        if "`judge`" not in str(error):
            raise
        return _count_tested(wanted)
    if facts.judged == "pairs" or not tested:
        return facts
    try:
        return _count_tested(wanted)
    except UserError:
        if wanted.evaluator:
            return facts
        raise


def _count_tested(wanted: FirstStudy) -> DataFacts:
    with Jsonl(data=wanted.data, judge="sandbox").open(Context()) as opened:
        return _count(require_testbed(opened))


def _count(testbed: Testbed) -> DataFacts:
    pairs = count_rows(testbed.preferences, "train") or 0
    demonstrations = count_rows(testbed.demonstrations, "train") or 0
    judged: Judged = "tests" if testbed.tested else "pairs" if pairs else "neither"
    return DataFacts(judged, DataSize(len(testbed.prompts("train")), demonstrations, pairs))


def _testbed(facts: DataFacts, wanted: FirstStudy, part: str) -> dict[str, object]:
    """Returns the fields of the testbed. If an evaluator is trained on the pairs, the policies and the evaluator use
    different parts of the data. `part`: the name of the part that this testbed reads."""
    judge = {"judge": "sandbox"} if facts.judged == "tests" else {}
    parted = {"part": part} if facts.judged == "pairs" and not wanted.evaluator else {}
    return {"kind": "jsonl", "data": wanted.data, **judge, **parted}


def _evaluator(facts: DataFacts, wanted: FirstStudy) -> list[str]:
    if wanted.evaluator:
        model = {"kind": "reward-model", "model": {"path": wanted.evaluator}}
        return ["# The evaluator of all arms: a reward model that no arm is trained on.", _lines(evaluator=model)]
    if facts.judged == "tests":
        return [
            "# The evaluator of all arms: hidden tests, which no arm is trained on.",
            _lines(evaluator="hidden-tests"),
        ]
    model = {"kind": "reward-model", "model": {"path": "stage:evaluator"}}
    words = "# The evaluator of all arms: a reward model, trained on 30% of the pairs. No arm uses these pairs."
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
    """Returns the arms that the data allow. With demonstrations, there are the arms `sft` (the baseline) and `more-sft`
    (further training). With pairs, there is the arm `dpo`. With tests, there is the arm `ppo` with the tests as its
    reward. With pairs but no tests, the reward of `ppo` is a reward model that is trained on the pairs."""
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
    """Returns the fields as YAML, with each innermost mapping on one line."""
    style = {name: None if isinstance(value, dict | list) else False for name, value in fields.items()}
    return "".join(
        yaml.safe_dump({name: value}, sort_keys=False, default_flow_style=style[name], width=120, allow_unicode=True)
        for name, value in fields.items()
    )
