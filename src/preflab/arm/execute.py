"""Runs one arm: opens its parts, trains, saves, measures, writes `result.json`. The only place where specs come to life."""

from __future__ import annotations

import copy
import json
import os
import resource
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from preflab.arm.data import preferences_of, rankings_of, rated_of
from preflab.arm.origin import revision, versions
from preflab.arm.spec import STAGE, STAGES, Arm, learned_paths, made_elsewhere, stage_path
from preflab.batch import collate_pairs
from preflab.errors import UserError
from preflab.evaluation.evaluate import Bench, check_splits, evaluate, look
from preflab.evaluation.programs import check_public
from preflab.meter import Meter
from preflab.methods.base import Method, Parts
from preflab.methods.best_of_n import BestOfN
from preflab.methods.held_out import by_margin, measures, pair_scores, reliability
from preflab.models import forward, lora
from preflab.models.heads import load_reward_model
from preflab.models.lm import LanguageModel
from preflab.models.load import load_directory, load_model
from preflab.sampling.inference import Inference
from preflab.spec import Context
from preflab.testbeds import provenance
from preflab.testbeds.base import Testbed
from preflab.train import faults
from preflab.train.files import new_directory, read_json, read_lines, write_json
from preflab.train.run import Run, open_run
from preflab.train.settings import Keeping
from preflab.types import (
    Preference,
    Ranking,
    Split,
    from_preference,
    from_ranking,
)


def execute(arm: Arm, directory: Path, *, keeping: Keeping | None = None, fresh: bool = False) -> dict[str, Any]:
    """Trains and measures an arm in `directory`, or goes on where it was; returns what `result.json` holds."""
    started = time.monotonic()
    torch.set_num_threads(arm.threads)
    origin = {"versions": versions(), "revision": revision(), "threads": torch.get_num_threads()}
    with open_run(
        directory,
        {"spec": arm.model_dump(mode="json"), **origin},
        seed=arm.seed,
        budget=arm.budget,
        evaluations=arm.looks,
        keeping=keeping,
        fresh=fresh,
        label=arm.name,
    ) as run:
        result = earlier_result(arm, directory)
        if result is None:
            with ExitStack() as stack:
                result = _train_and_measure(arm, run, stack)
            faults.point("result.before")
            write_json(directory / "result.json", result)
            seconds = round(time.monotonic() - started, 3)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            run.timing.write({"wall_seconds": seconds, "peak_memory": peak, "pid": os.getpid()})
        for name in ("checkpoints", "best"):  # optimizer state goes when an arm ends
            shutil.rmtree(directory / name, ignore_errors=True)
    return result


def earlier_result(arm: Arm, directory: Path) -> dict[str, Any] | None:
    """What an earlier start found. None where there was none, and for a stage whose product, the reason to run it, is
    gone (results may be kept without weights)."""
    path = directory / "result.json"
    if not path.exists():
        return None
    result: dict[str, Any] = read_json(path)
    gone = arm.measure == "none" and result["diverged"] is None and not (directory / "final").exists()
    return None if gone else result


def _train_and_measure(arm: Arm, run: Run, stack: ExitStack) -> dict[str, Any]:
    stages = stages_of(run.directory)
    context = Context(seed=arm.seed, device=device(arm.device), workdir=run.directory, meter=run.meter)
    testbed = stack.enter_context(arm.testbed.open(context))
    context = replace(context, testbed=testbed)
    start = _model(arm, run, arm.init, context, testbed)
    reward_spec = with_stage(arm.reward, stages)
    reward = stack.enter_context(reward_spec.open(context)) if reward_spec is not None else None
    bench: Bench | None = None
    if arm.evaluator is not None:  # its meter is its own: measuring is not charged to the arm
        bench = _bench(arm, run, replace(context, meter=Meter()), testbed, start, stack)
    result: dict[str, Any] = {"name": arm.name, "seed": arm.seed, "method": "policy", "product": "policy"}
    result |= {
        "parameters": start.size,
        "notices": list(start.notices),
        "data_notes": list(getattr(testbed, "notes", ())),
    }
    seen = training_data(arm, testbed, stages)
    refuse_overlap(arm, seen, stages)
    method: Method | None = arm.method
    if method is None:
        product: Product = _model(arm, run, arm.policy, context, testbed)
    else:
        result |= {"method": type(method).model_fields["kind"].default, "product": method.product}
        parts = Parts(
            run=run,
            policy=_to_train(arm, run, start),
            testbed=testbed,
            preferences=preferences_of(arm, stages, testbed),
            validate=partial(look, bench)
            if bench and method.product == "policy" and bench.prompts("validation", 1)
            else None,
            sampler=stack.enter_context(arm.sampler.open(context)),
            reward=reward,
            reward_model=_reward_model(arm, reward_spec, context.device),
            ranked=rankings_of(arm, stages, testbed),
            rated=rated_of(arm, stages, testbed),
            located=partial(stage_path, stages=stages),
            labels_paid=(arm.preferences or "").startswith(STAGE),
            token_budget=arm.token_budget,
        )
        try:
            product = method.train(parts)
        except FloatingPointError as error:
            return result | {"diverged": str(error), "counts": run.meter.state_dict()}
        _save(run, product, method.product, seen)
        if method.product == "reward_model" and isinstance(product, LanguageModel):
            result |= _scorer_record(run, product, testbed, arm.token_budget)
    result |= {
        "diverged": None,
        "counts": run.meter.state_dict(),
        "charged": arm.budget.charged if arm.budget else 0.0,
        "best": run.selection.state_dict(),
        "last": last_record(run.directory),
    }
    measured = arm.measure != "none" and result["product"] == "policy"
    if bench is not None and measured and isinstance(product, LanguageModel):
        inference = method.inference() if method is not None else Inference()
        result["evaluation"] = evaluate(bench, product, inference, test=arm.measure == "test")
    return result


def _bench(arm: Arm, run: Run, context: Context, testbed: Testbed, start: LanguageModel, stack: ExitStack) -> Bench:
    """What measuring needs. A best-of-n arm's reward is opened once more, as its selector."""
    check_public(arm.evaluation, testbed)
    evaluator = with_stage(arm.evaluator, stages_of(run.directory))
    selects = isinstance(arm.method, BestOfN) and arm.method.selector == "reward"
    selector = with_stage(arm.reward, stages_of(run.directory)) if selects else None
    bench = Bench(
        spec=arm.evaluation,
        testbed=testbed,
        evaluator=stack.enter_context(evaluator.open(context)),
        sampler=stack.enter_context(arm.sampler.open(context)),
        seed_for=run.seed_for,
        start=start if arm.init is not None else None,
        reward=stack.enter_context(selector.open(context)) if selector is not None else None,
        token_budget=arm.token_budget,
    )
    check_splits(bench, arm.measure)
    return bench


TRAINED_ON = "trained_on.json"
Product = LanguageModel | Sequence[Preference] | Sequence[Ranking]


def device(name: str) -> str:
    """`auto`: the GPU where there is one."""
    return name if name != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")


def stages_of(directory: Path) -> Path:
    """Where the stages lie that a run names: `stages/` beside an arm, its own parent for a stage."""
    return directory.parent if directory.parent.name == STAGES else directory.parent / STAGES


def with_stage(spec: Any, stages: Path) -> Any:
    """A learned reward (or an evaluator, or an ensemble, that holds some) of a stage, with its directory and the
    normalisation of its scores on held-out pairs; any other spec as it is."""
    if getattr(spec, "model", None) is not None:
        return spec.model_copy(update={"model": with_stage(spec.model, stages)})
    if getattr(spec, "models", ()):
        return spec.model_copy(update={"models": tuple(with_stage(member, stages) for member in spec.models)})
    path = getattr(spec, "path", None)
    if path is None or not path.startswith(STAGE):
        return spec
    seen = read_json(stages / path.removeprefix(STAGE) / "result.json")["validation"]
    moments = {"mean": seen["score_mean"], "std": seen["score_std"]}
    return spec.model_copy(update={"path": str(stage_path(path, stages)), **moments})


def last_record(directory: Path) -> dict[str, float]:
    """The last step's record of a run, its look at the validation split included."""
    rows = read_lines(directory / "metrics.jsonl")
    return rows[-1] if rows else {}


def _model(arm: Arm, run: Run, path: str | None, context: Context, testbed: Any) -> LanguageModel:
    """The policy of a directory, or the base model where there is none."""
    if path is not None:
        lm = load_directory(stage_path(path, stages_of(run.directory)))
    else:
        words = testbed.words() if hasattr(testbed, "words") else ()
        shape = arm.model.tiny.model_copy(update={"words": words})
        plain = arm.model.model_copy(update={"lora": None, "tiny": shape})
        lm = load_model(plain, seed=run.seed_for("model"))
    lm.model.to(context.device)
    if arm.precision == "bf16":
        forward.use_bf16(lm.model)
    return lm


def _to_train(arm: Arm, run: Run, start: LanguageModel) -> LanguageModel:
    """A copy of the starting policy to train, under fresh adapters where the model's spec asks for them."""
    model = copy.deepcopy(start.model)
    if arm.model.lora is not None:
        model = lora.attach(model, arm.model.lora, seed=run.seed_for("lora"))
    return start.with_model(model)


def _reward_model(arm: Arm, spec: Any, device: str) -> LanguageModel | None:
    """The weights of a learned reward, where the method's critic starts from them."""
    if getattr(arm.method, "critic_from", "policy") != "reward" or getattr(spec, "path", None) is None:
        return None
    lm = load_reward_model(Path(spec.path))
    lm.model.to(device)
    if arm.precision == "bf16":
        forward.use_bf16(lm.model)
    return lm


def _save(run: Run, product: Product, kind: str, seen: Sequence[Any]) -> None:
    """Saves what was trained under `final/` (a policy with its adapters merged, a reward model; pairs or rankings, `kind`,
    as lines), with what it was trained on."""
    with new_directory(run.directory / "final") as aside:
        if isinstance(product, LanguageModel):
            product.save(aside)
        else:
            rows = (from_ranking(row) if isinstance(row, Ranking) else from_preference(row) for row in product)
            (aside / f"{kind}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        write_json(aside / TRAINED_ON, list(seen))
        faults.point("final.before-rename")


def training_data(arm: Arm, testbed: Any, stages: Path) -> list[dict[str, Any]]:
    """The provenance of everything that the arm's policy was or will be trained on: its own and its start's."""
    seen = [testbed.provenance()] if arm.method is not None and hasattr(testbed, "provenance") else []
    base = arm.model.name if Path(arm.model.name).is_dir() else None
    for path in ([base] if base is not None else []) + made_elsewhere(arm):
        file = stage_path(path, stages) / TRAINED_ON
        if file.exists():
            seen += [found for found in read_json(file) if found not in seen]
    return seen


def refuse_overlap(arm: Arm, seen: Sequence[dict[str, Any]], stages: Path) -> None:
    """Raises `UserError` where a learned evaluator saw data that the policy, its start or its reward model saw."""
    for path in learned_paths(getattr(arm.evaluator, "model", None)):
        file = stage_path(path, stages) / TRAINED_ON
        if not file.exists():
            raise UserError(f"{file.parent} does not say what it was trained on: train the evaluator with preflab.")
        for evaluator in read_json(file):
            provenance.refuse_overlap(evaluator, seen)


def best_look(run: Run) -> dict[str, float]:
    """What the look at the validation split said of the checkpoint that was kept."""
    rows = read_lines(run.directory / "metrics.jsonl")
    best = next(row for row in rows if row["step"] == run.selection.best_step)
    return {name.removeprefix("validation/"): value for name, value in best.items() if name.startswith("validation/")}


def _scorer_record(run: Run, scorer: LanguageModel, testbed: Any, token_budget: int) -> dict[str, Any]:
    """What is written down of a reward model: the look that chose its checkpoint, with calibration in bins, and the test
    split's pairs."""
    seen = _ordered(scorer, testbed, "validation", token_budget) or {}
    return {"validation": seen | best_look(run), "held_out": _ordered(scorer, testbed, "test", token_budget)}


def _ordered(scorer: LanguageModel, testbed: Any, split: Split, token_budget: int) -> dict[str, Any] | None:
    """How a reward model orders a split's pairs, with its calibration in bins; None where the testbed has none there."""
    try:
        rows = testbed.preferences(split)
    except UserError:
        return None
    pairs = collate_pairs(rows, scorer.encode, limit=scorer.context)
    found = pair_scores(scorer, pairs, token_budget)
    return {"pairs": len(rows), **measures(found), "reliability": reliability(found), "by_margin": by_margin(found)}
