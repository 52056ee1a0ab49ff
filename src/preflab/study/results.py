"""From run directories to `Results`: reads what the runs wrote, analyses it, words the verdict. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from textwrap import indent
from typing import Any, Literal

import numpy as np

from preflab.analysis import statistics
from preflab.analysis.gather import SCORE, Board, Ran, curve, frontier, gather, mean, mean_spent, never_passed, timing
from preflab.analysis.record import results as report
from preflab.analysis.scorers import evaluator_of, one_line, reward_models
from preflab.analysis.scores import share_seeds
from preflab.analysis.verdict import verdict
from preflab.meter import Unit
from preflab.report.text import counted
from preflab.spec import Spec
from preflab.study.declared import claims, interval, paper, sweep, unfinished
from preflab.study.spec import Contestant, Study, all_needs, learned_path
from preflab.train.directory import MANIFEST
from preflab.train.files import read_json, read_lines

LONGEST = 600
"""Characters of a part of a failing test that are shown."""


def results(study: Study, directory: Path, *, command: str, notes: Sequence[str] = ()) -> report.Results:
    """Everything that the report says. Raises `UserError` where no arm has finished."""
    ran = gather(study, directory)
    boards: dict[report.Decoding, Board] = {"chosen": Board.of(ran, "chosen"), "unit": Board.of(ran, "unit")}
    headline = study.headline or boards["chosen"].score
    tables = {name: boards["chosen"].table(runs, "chosen", measure=headline) for name, runs in ran.items()}
    contestants = {name: scores for name, scores in tables.items() if not study.arms[name].baseline}
    named = [pair for pair in study.comparisons if pair[0] in tables and pair[1] in tables]
    pairs = [pair for pair in named or combinations(tables, 2) if share_seeds(*(tables[name] for name in pair))]
    compared = statistics.compare_all(tables, pairs)
    winner = statistics.winner(contestants or tables)
    first = next(iter(ran.values()))[0].result
    evaluator = evaluator_of(study, directory)
    return report.Results(
        study=study.name,
        question=study.question,
        model=subject_of_model(study, first),
        testbed=subject_of_testbed(study),
        evaluators=(evaluator,),
        budget=budget_of(study),
        seeds=tuple(sorted({run.task.seed for runs in ran.values() for run in runs})),
        metrics=tuple(metrics(headline, ran)),
        headline=headline,
        levels=tuple(dict.fromkeys(level for level in boards["chosen"].levels.values() if level)),
        arms=tuple(arm_of(study, name, runs, boards, headline, directory) for name, runs in ran.items()),
        comparisons=tuple(comparison(item, headline, named=bool(named)) for item in compared),
        claims=tuple(claims(study, tables, can_rank=evaluator.can_rank)),
        paper=paper(study),
        sweep=sweep(study, ran),
        reward_models=tuple(reward_models(study, directory)),
        verdict=verdict(
            study, winner, tables, {name: mean_spent(runs) for name, runs in ran.items()}, headline, evaluator
        ),
        tuning=tuning_of(study),
        samples=tuple(samples(ran)),
        unrewarded=tuple(unrewarded(ran)),
        caveats=(*study.caveats, *notes, *automatic_caveats(study, ran), *first["data_notes"]),
        versions=made_with(run.task.directory for runs in ran.values() for run in runs),
        command=command,
        unfinished=unfinished(study, ran, command),
        timing=tuple(timing(run) for runs in ran.values() for run in runs),
    )


def made_with(directories: Iterable[Path]) -> dict[str, str]:
    """Versions and revision by which the runs were made; what differs between runs stands side by side."""
    found: dict[str, list[str]] = {}
    for directory in directories:
        manifest = read_json(directory / MANIFEST)
        for name, value in {**manifest["versions"], "revision": manifest["revision"] or "unknown"}.items():
            found.setdefault(name, []).append(value)
    return {name: ", ".join(dict.fromkeys(values)) for name, values in found.items()}


def arm_of(
    study: Study,
    name: str,
    runs: Sequence[Ran],
    boards: Mapping[report.Decoding, Board],
    headline: str,
    directory: Path,
) -> report.Arm:
    job = study.arms[name]
    inference = next((run.result["evaluation"]["inference"] for run in runs if not run.diverged), {"n": 1})
    return report.Arm(
        name=name,
        method=runs[0].result["method"],
        description=job.description,
        baseline=job.baseline,
        origin=job.policy if job.policy and not job.policy.startswith("stage:") else "",
        inference_cost=inference["n"],
        differences=tuple(differences(job)),
        measures=tuple(measures(runs, boards, headline)),
        runs=tuple(run_of(study, run, headline, directory) for run in runs),
    )


def measures(runs: Sequence[Ran], boards: Mapping[report.Decoding, Board], headline: str) -> Iterable[report.Measure]:
    """What each problem has a value of, overall and by level with intervals; other measures as means over seeds with t
    intervals."""
    for decoding, board in boards.items():
        rates = dict.fromkeys([headline, *board.rates])
        for name in rates:
            for level in dict.fromkeys(["", *board.levels.values()]):
                value = interval(statistics.mean_interval(board.table(runs, decoding, level, name)))
                yield report.Measure(metric=name, value=value, level=level, decoding=decoding)
        for name in dict.fromkeys(name for run in runs for name in run.measures(decoding) if name not in rates):
            values = [run.measures(decoding).get(name) for run in runs]
            kept = [value for value in values if value is not None]
            if kept and name != "score":
                yield report.Measure(metric=name, value=over_seeds(kept), decoding=decoding)


def over_seeds(values: Sequence[float]) -> report.Interval:
    """Mean over seeds with its t interval (none for a single seed)."""
    from scipy.stats import t

    centre = mean(values)
    if len(values) < 2:
        return report.Interval(estimate=centre)
    half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
    return report.Interval(estimate=centre, low=centre - half, high=centre + half, df=len(values) - 1)


def run_of(study: Study, run: Ran, headline: str, directory: Path) -> report.Run:
    records = read_lines(run.task.directory / "metrics.jsonl")
    rename = {"score": SCORE if headline == SCORE else "pass@1"}
    return report.Run(
        seed=run.task.seed,
        directory=str(run.task.directory.relative_to(directory)),
        metrics={rename.get(name, name): value for name, value in run.measures("chosen").items()},
        metrics_unit={rename.get(name, name): value for name, value in run.measures("unit").items()},
        spent=spent_of(study, run, records),
        temperature=None if run.diverged else run.result["evaluation"]["temperature"],
        checkpoint=None if run.diverged else run.result["best"]["best_step"] or None,
        diverged=run.diverged,
        note=run.result["diverged"] or "",
        curve=tuple(curve(run, records)),
        frontier=tuple(frontier(run, records)),
    )


def spent_of(study: Study, run: Ran, records: Sequence[Mapping[str, Any]]) -> report.Spent:
    """What a run and the stages that it stands on used; unknown for a policy that was trained elsewhere.

    What a stage or arm with a reward that is no learned one had labelled are calls of that reward; other labels are data's.
    Updates are the run's own, as its last record counts them.
    """
    job = study.arms[run.task.name]
    if job.policy is not None and not all_needs(study, job):
        return report.Spent()
    used = run.spent
    counts = [(job, run.result["counts"]["labels"])]
    counts += [
        (study.stages[need.name], read_json(need / "result.json")["counts"]["labels"]) for need in run.task.needs
    ]
    calls = sum(labels for part, labels in counts if getattr(part.reward, "kind", "learned") != "learned")
    return report.Spent(
        labels=used["labels"] - calls,
        reward_calls=calls,
        flops=used["flops"],
        sampled_tokens=used["sampled_tokens"],
        trained_tokens=used["trained_tokens"],
        updates=records[-1].get("updates") if records else 0,
    )


def comparison(found: statistics.Comparison, headline: str, *, named: bool) -> report.Comparison:
    outcomes: Mapping[str, Literal["a", "b", "undecided"]] = {"better": "a", "worse": "b", "not decided": "undecided"}
    return report.Comparison(
        a=found.first,
        b=found.second,
        metric=headline,
        difference=interval(found),
        p_value=found.p_value,
        outcome=outcomes[found.verdict],
        preliminary=found.preliminary,
        named=named,
    )


def metrics(headline: str, ran: Mapping[str, Sequence[Ran]]) -> Iterable[report.Metric]:
    """The table's columns: the headline first."""
    runs = [run for runs in ran.values() for run in runs if not run.diverged]
    names = dict.fromkeys([headline, *(name for run in runs for name in run.measures("unit") if name != "score")])
    for name in names:
        note = ""
        if name == "kl":
            used = dict.fromkeys(run.result["evaluation"]["unit"]["kl"]["estimator"] for run in runs)
            note = "nats per response at temperature 1; " + "; ".join(used)
        yield report.known_metric(name, note=note)


def differences(job: Contestant) -> Iterable[report.Difference]:
    """The method's spec as a diff against its defaults, by dotted field."""
    if job.method is not None:
        yield from changed(type(job.method)(), job.method, "")


def changed(default: Any, value: Any, prefix: str) -> Iterable[report.Difference]:
    for field in type(value).model_fields:
        old, new = getattr(default, field), getattr(value, field)
        if isinstance(new, Spec) and type(new) is type(old):
            yield from changed(old, new, f"{prefix}{field}.")
        elif old != new:
            plain = (default.model_dump(mode="json")[field], value.model_dump(mode="json")[field])
            yield report.Difference(field=prefix + field, default=plain[0], value=plain[1])


def samples(ran: Mapping[str, Sequence[Ran]]) -> Iterable[report.Sample]:
    """The first seed's first answers, every arm's side by side."""
    firsts = {name: runs[0] for name, runs in ran.items() if not runs[0].diverged}
    for index, shown in enumerate(next(iter(firsts.values())).result["evaluation"]["samples"] if firsts else []):
        answers = [(name, run.result["evaluation"]["samples"][index]) for name, run in firsts.items()]
        yield report.Sample(
            problem=shown["problem"],
            prompt=min((answer["prompt"] for _, answer in answers), key=len),  # without an arm's own examples
            level=shown["level"],
            seed=next(iter(firsts.values())).task.seed,
            answers=tuple(
                report.Answer(
                    arm=name,
                    text=answer["text"],
                    score=answer["score"],
                    outcome=answer["outcome"],
                    passed=tuple(answer["passed"]),
                    detail=failing(answer["detail"]),
                    truncated=answer["truncated"],
                )
                for name, answer in answers
            ),
        )


def failing(detail: Mapping[str, Any]) -> str:
    """The first failing test: a line for each of its parts, or a block where one has several lines; the long are cut."""
    shown: list[str] = []
    for key, value in detail.items():
        words = str(value).strip("\n")
        words = words if len(words) <= LONGEST else words[:LONGEST] + " …"
        shown.append(f"{key}: {words}" if "\n" not in words else f"{key}:\n{indent(words, '  ')}")
    return "\n".join(shown)


def subject_of_model(study: Study, result: Mapping[str, Any]) -> report.Subject:
    name = study.model.name
    size = f"{result['parameters']:,} parameters" + (", trained through LoRA" if study.model.lora else "")
    return report.Subject(name=name, description=size, notices=tuple(result["notices"]))


def subject_of_testbed(study: Study) -> report.Subject:
    language = getattr(study.testbed, "language", "")
    return report.Subject(name=study.testbed.kind, description=one_line(study.testbed), language=language)


def budget_of(study: Study) -> report.Budget:
    if study.budget is None:
        return report.Budget(binding="none")
    notes: dict[Unit, str] = {
        "compute": "2N FLOP per forward or sampled token, 6N per trained token; critic, reference, reward model, the "
        "sampling of pairs and the stages that an arm stands on are charged to it. Measuring is not.",
        "labels": "Preference labels, or calls of the reward, each counted once.",
    }
    return report.Budget(binding=study.budget.unit, amount=study.budget.amount, note=notes[study.budget.unit])


def tuning_of(study: Study) -> report.Tuning:
    if study.tuning is None:
        return report.Tuning(note="Nothing was tuned for this study: every arm has the settings shown.")
    count = study.tuning.trials
    seeds = ", ".join(str(seed) for seed in study.tuning.seeds)
    return report.Tuning(
        note=f"Up to {count} trials an arm, chosen on the validation split with seed {seeds}, which the report does not use.",
        metric="validation score at the best temperature",
        trials=tuple(report.Trial(**trial.model_dump()) for trial in study.tuning.shipped),
    )


def unrewarded(ran: Mapping[str, Sequence[Ran]]) -> Iterable[str]:
    """The arms none of whose samples ever passed in training: what they learnt, they learnt from no reward at all."""
    for name, runs in ran.items():
        blind = [run.task.seed for run in runs if never_passed(read_lines(run.task.directory / "metrics.jsonl"))]
        if blind:
            where = "" if len(runs) == 1 else f"in {len(blind)} of {len(runs)} runs "
            yield f"{name} never saw a reward: {where}no sample passed its tests while training."


def automatic_caveats(study: Study, ran: Mapping[str, Sequence[Ran]]) -> Iterable[str]:
    """What the numbers themselves say against the answer."""
    if learned_path(study.evaluator) is not None:
        yield "Checkpoints and temperatures are chosen by the evaluator too, on the validation split, for every arm alike."
    count = len({run.task.seed for runs in ran.values() for run in runs})
    if count < statistics.ENOUGH_SEEDS:
        few = counted(count, "seed")
        yield f"Preliminary: {few}. How much runs differ is poorly known from so few; 5 or more decide more."
    for name, runs in ran.items():
        count = sum(run.diverged for run in runs)
        if count:
            yield (
                f"{name}: {count} of {len(runs)} runs diverged; they count as nothing solved, or as the worst score of any "
                "run where scores have no zero."
            )
        if len(runs) < study.seeds:
            yield f"{name}: {len(runs)} of {study.seeds} seeds are there; comparisons use the seeds that both arms have."
