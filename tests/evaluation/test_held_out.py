"""What is measured of a policy where no evaluator is named: values worked out by hand for a policy that knows nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import pytest
import torch

from preflab.arm.execute import execute, order_pairs
from preflab.arm.spec import Arm
from preflab.cli import main
from preflab.errors import UserError
from preflab.evaluation.held_out import HeldOut
from preflab.evaluation.settings import Evaluation
from preflab.models.lm import LanguageModel
from preflab.models.spec import TinyShape
from preflab.models.tiny import make_tiny
from preflab.sampling.base import Sampler
from preflab.sampling.native import Native
from preflab.spec import Context, parse_spec
from preflab.testbeds.base import count_rows
from preflab.testbeds.dialogues import DialogueRow, Dialogues
from preflab.train.seeds import Seeds
from preflab.train.settings import Keeping
from preflab.types import Completion, Demonstration, Preference, Prompt, Split, Turn

WORDS = ("ask", "good", "bad", "more")


def make_policy(*, blank: bool) -> LanguageModel:
    """`tiny`; with all weights 0 every token has the probability 1/V."""
    lm = make_tiny(TinyShape(width=8, inner=8, layers=1, heads=1, words=WORDS), seed=0)
    if blank:
        with torch.no_grad():
            for weight in lm.model.parameters():
                weight.zero_()
    return lm


def open_held_out(start: LanguageModel | None, sampler: object) -> HeldOut:
    row = DialogueRow(
        Prompt("p", (Turn("user", "ask"),)), answer=Completion("good"), rejected=Completion("bad more more")
    )
    data = Dialogues("own", {"train": [row], "validation": [row], "test": [row]}, part="train", identity={})
    spec = Evaluation(max_new_tokens=4)
    return HeldOut(spec, data, sampler, Seeds(0).derive, start, 16, 1024)  # pyright: ignore[reportArgumentType]


def test_of_a_policy_that_knows_nothing() -> None:
    """Loss ln V a token. Without a start the pair's margin is (4 - 2) ln V: "good" has 2 tokens with its end, the other 4.
    Against itself every margin is 0, a tie, which counts half, and the KL is 0."""
    policy = make_policy(blank=True)
    v = math.log(policy.model.config.vocab_size)
    with Native().open(Context()) as sampler:
        alone = open_held_out(None, sampler).measure(policy, "test")
        against_itself = open_held_out(policy, sampler).measure(policy, "test")
    assert alone["loss"] == pytest.approx(v, rel=1e-6)
    assert alone["likelihood_accuracy"] == 1.0 and alone["likelihood_margin"] == pytest.approx(2 * v, rel=1e-6)
    assert "kl" not in alone and 1 <= alone["length"] <= 4
    assert against_itself["pair_accuracy"] == 0.5 and against_itself["pair_margin"] == 0.0
    assert against_itself["kl"] == pytest.approx(0.0, abs=1e-6)


class Damaged(Dialogues):
    """Its held-out pairs cannot be read; its held-out demonstrations do not exist."""

    def demonstrations(self, split: Split) -> Sequence[Demonstration]:
        raise self.lacks("answers to imitate", split)

    def preferences(self, split: Split) -> Sequence[Preference]:
        raise UserError(f"mine.jsonl, line 3: the pair of {split} is damaged.")


def test_a_damaged_split_is_refused_and_a_missing_one_is_not_measured() -> None:
    """Protects from a result that lacks measures because the data were damaged: each question whether a split has records
    tells missing records from an error."""
    policy = make_policy(blank=True)
    data = Damaged("own", {"train": [], "validation": [], "test": []}, part="train", identity={})
    held_out = HeldOut(Evaluation(), data, cast("Sampler", None), Seeds(0).derive, None, 16, 1024)
    assert count_rows(data.demonstrations, "validation") is None
    for ask in (
        partial(held_out.read, policy, "validation"),
        partial(order_pairs, policy, data, "validation", 1024),
        partial(count_rows, data.preferences, "validation"),
    ):
        with pytest.raises(UserError, match="the pair of validation is damaged"):
            ask()


def test_runs_without_an_evaluator_have_held_out_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """SFT and DPO on data of one's own wrote no validation metric, and `evaluate` was refused. Now each look is in the metrics,
    the last step's weights are kept as before, and the result and the terminal have both splits."""
    data = tmp_path / "mine.jsonl"
    rows = [{"prompt": f"ask {number}", "chosen": "good", "rejected": "bad more"} for number in range(40)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shape = {"width": 8, "inner": 8, "layers": 1, "heads": 1}
    common = {"testbed": {"kind": "jsonl", "data": str(data)}, "model": {"name": "tiny", "tiny": shape}}
    common |= {"evaluation": {"max_new_tokens": 4}, "looks": 2, "device": "cpu"}
    for method in ("sft", "dpo"):
        spec = {"name": method, "method": {"kind": method, "batch_size": 8, "epochs": 1}, **common}
        result = execute(parse_spec(Arm, spec, where=""), tmp_path / method, keeping=Keeping(progress=False))
        looks = [json.loads(line) for line in (tmp_path / method / "metrics.jsonl").read_text().splitlines()]
        read = {"validation/loss", "validation/pair_accuracy", "validation/pair_margin"}
        assert sum(read <= look.keys() for look in looks) == 2
        for measures in (result.validation, result.held_out):
            assert measures is not None
            assert {"loss", "pair_accuracy", "pair_margin", "length", "truncated", "kl"} == measures.numbers.keys()
        assert result.best is not None and result.best.best_step == 0
    capsys.readouterr()
    words = ["evaluate", str(tmp_path / "dpo" / "final"), "--testbed", "jsonl", "--data", str(data)]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--max-new-tokens", "4", "--device", "cpu", "--output", str(tmp_path / "measured")])
    assert not ended.value.code
    assert "held out (test split): loss" in capsys.readouterr().out
    measured, trained = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("measured", "dpo"))
    assert measured["parameters"] == trained["parameters"]  # those of the measured policy, to which the rows are fitted
