"""Makes the `Results` of a study: analyses the results of its runs, and adds the declarations of its study file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from textwrap import indent
from typing import Any

from preflab.analysis import record
from preflab.analysis.board import Board
from preflab.analysis.curves import curve, frontier
from preflab.analysis.decide import decide_claims
from preflab.analysis.gather import DECODINGS, Arms, FinishedRun, gather, mean_used, timing_of, versions_of
from preflab.analysis.matches import pairwise_result
from preflab.analysis.measured import measured_values, measures_of
from preflab.analysis.record import DecodingChoice
from preflab.analysis.relative import lacks_reference, missing_words, relative_measures, with_relative
from preflab.analysis.reward_models import pooled_accuracy, reward_model_result, stage_results
from preflab.analysis.scores import Scores, share_seeds
from preflab.analysis.spread import spread_caveats
from preflab.analysis.statistics import compare_all, compare_with_baselines, find_winner, mean_interval
from preflab.analysis.verdict import Evidence, study_verdict
from preflab.arm.match import match_directory
from preflab.arm.spec import STAGE, is_trained_elsewhere, saved_models
from preflab.errors import UserError
from preflab.evaluation.several import explain_choice
from preflab.meter import Unit
from preflab.spec import HoldsModels, Spec
from preflab.study.plan import planned_runs
from preflab.study.spec import Study, model_stages
from preflab.study.tuning import values_at_edge
from preflab.text import counted
from preflab.train.directory import RESULT
from preflab.train.finished import read_result

LONGEST_DETAIL = 600
"""The most characters that a report shows of each part of a failing test."""
BUDGET_NOTES: Mapping[Unit, str] = {
    "compute": "A token in a forward pass or a sampled token costs 2N FLOP, and a trained token 6N. An arm is charged for "
    "its critic, reference and reward model, the sampling of pairs, and the stages that it needs. Measuring is not charged.",
    "labels": "Preference labels, or calls of the reward, each counted once.",
}


def study_results(study: Study, directory: Path, *, command: str, failures: Sequence[str] = ()) -> record.Results:
    """Returns all results that the report shows. Raises `UserError` if no arm has finished."""
    gathered = gather(planned_runs(study, directory))
    if not gathered:
        why = "".join(f" {failure}" for failure in failures[:1])
        raise UserError(f"No arm of {study.name!r} has finished in {directory}: there is nothing to report yet.{why}")
    relative = relative_measures(study.evaluators)
    missing = [each for each in relative if lacks_reference(gathered, each)]
    known = [each for each in relative if each not in missing]
    arms = with_relative(gathered, known)
    declared = {measure.name: measure for row in study.measures.values() for measure in row}
    declared |= {each.measure.name: each.measure for each in known}
    boards, headline = boards_of(study, arms, declared), study.headline or study.score
    scores = {name: boards["chosen"].table(runs, "chosen", measure=headline) for name, runs in arms.items() if boards}
    means = {name: mean_interval(table) for name, table in scores.items()}
    evaluators = {name: evaluator_result(study, name, spec, directory) for name, spec in study.evaluators.items()}
    decides = evaluators[study.main_evaluator]
    reward_models = (reward_model_result(name, stage_results(directory, name, study.seeds)) for name in study.stages)
    every_run = [run for runs in arms.values() for run in runs]
    return record.Results(
        study=study.name,
        question=study.question,
        model=model_subject(study, every_run[0].result),
        testbed=record.Subject(
            name=study.testbed.kind, description=first_paragraph(type(study.testbed)), language=study.testbed.language
        ),
        evaluators=tuple(evaluators.values()),
        budget=shared_budget(study),
        seeds=tuple(sorted({run.seed for run in every_run})),
        metrics=tuple(measures_of(headline, arms, declared)),
        headline=headline,
        score=study.score,
        levels=tuple(dict.fromkeys(level for level in boards["chosen"].levels.values() if level)) if boards else (),
        arms=tuple(
            arm_result(study, runs, measured_values(runs, boards, headline, declared), directory)
            for runs in arms.values()
        ),
        pairwise=tuple(pairwise_results(study, directory)),
        comparisons=tuple(compare_arms(study, scores, headline)),
        claims=tuple(decide_claims(study.claims, scores, can_rank=decides.can_rank)),
        paper=study.paper,
        sweep=study.sweep and study.sweep.among(arms),
        reward_models=tuple(filter(None, reward_models)),
        verdict=verdict_of(study, arms, scores, headline=declared[headline], evaluator=decides),
        tuning=tuning_result(study),
        samples=tuple(samples(arms)),
        unrewarded=tuple(unrewarded(arms)),
        caveats=(
            *(*study.caveats, *failures, *automatic_caveats(study, arms), *spread_caveats(means, headline)),
            *missing_words(missing),
            *every_run[0].result["data_notes"],
        ),
        versions=versions_of(run.planned.directory for run in every_run),
        command=command,
        unfinished=unfinished_words(study, arms, command),
        timing=tuple(timing_of(run) for run in every_run),
    )


def boards_of(study: Study, arms: Arms, declared: Mapping[str, record.Measure]) -> dict[DecodingChoice, Board]:
    """Returns the tables of scores for the chosen temperature and for temperature 1; {} if every run of every arm
    diverged."""
    if all(run.diverged for runs in arms.values() for run in runs):
        return {}
    return {name: Board.of(arms, name, study.score, declared.values()) for name in DECODINGS}


def verdict_of(
    study: Study,
    arms: Arms,
    scores: Mapping[str, Scores],
    *,
    headline: record.Measure,
    evaluator: record.EvaluatorResult,
) -> record.StudyVerdict:
    """Returns the verdict on the study's question, with the comparisons that support it."""
    if not scores:
        advice = "Lower the learning rates, and see the reasons under Runs."
        return record.StudyVerdict(sentence=f"No result: every run of every arm diverged. {advice}")
    baselines = [name for name in scores if study.arms[name].baseline]
    contestants = {name: table for name, table in scores.items() if name not in baselines} or scores
    winner = find_winner(contestants)
    starts = {name: starts_of(study, name, baselines) for name in contestants if name not in baselines}
    return study_verdict(
        Evidence(winner=winner, starts=compare_with_baselines(scores, starts, baselines, winner.leader)),
        scores,
        headline=headline,
        evaluator=evaluator,
        budget=study.budget.unit if study.budget else None,
        used={name: mean_used(runs) for name, runs in arms.items()},
        samples_per_answer=study.arms[winner.leader].inference.n,
    )


def starts_of(study: Study, arm: str, baselines: Sequence[str]) -> Sequence[str]:
    """Returns the baselines that measure the policy from which the arm starts; all baselines if there is no such
    baseline."""
    start = study.arms[arm].init
    own = [name for name in baselines if study.arms[name].method is None and study.arms[name].policy == start]
    return own or baselines


def compare_arms(study: Study, scores: Mapping[str, Scores], headline: str) -> Iterator[record.Comparison]:
    """Compares the pairs of arms in the study's `comparisons`, or all pairs if it has none. Leaves out a pair of arms
    without runs of the same seed."""
    named = [pair for pair in study.comparisons if pair[0] in scores and pair[1] in scores]
    pairs = [pair for pair in named or combinations(scores, 2) if share_seeds(*(scores[name] for name in pair))]
    for comparison in compare_all(scores, pairs):
        yield comparison.model_copy(update={"metric": headline, "named": bool(named)})


def arm_result(
    study: Study, runs: Sequence[FinishedRun], measures: Iterable[record.MeasuredValue], directory: Path
) -> record.ArmResult:
    job = study.arms[runs[0].planned.name]
    return record.ArmResult(
        name=runs[0].planned.name,
        method=runs[0].result["method"],
        description=job.description,
        baseline=job.baseline,
        origin=(job.policy or "") if is_trained_elsewhere(job) else "",
        inference_cost=next((run.evaluation["inference"]["n"] for run in runs if not run.diverged), 1),
        differences=() if job.method is None else tuple(setting_differences(job.method, type(job.method)())),
        measures=tuple(measures),
        runs=tuple(run_result(study, run, directory) for run in runs),
    )


def run_result(study: Study, run: FinishedRun, directory: Path) -> record.RunResult:
    names = {"score": study.score}
    return record.RunResult(
        seed=run.seed,
        directory=str(run.planned.directory.relative_to(directory)),
        metrics={names.get(name, name): value for name, value in run.measures("chosen").items()},
        metrics_unit={names.get(name, name): value for name, value in run.measures("unit").items()},
        spent=spent_by(study, run),
        temperature=None if run.diverged else run.evaluation["temperature"],
        checkpoint=None if run.diverged else run.result["best"]["best_step"] or None,
        diverged=run.diverged,
        note=run.result["diverged"] or "",
        curve=tuple(curve(run)),
        frontier=tuple(frontier(run)),
    )


def spent_by(study: Study, run: FinishedRun) -> record.Spent:
    """Returns what a run and the stages that it needs have used. For a policy that was trained elsewhere, this is
    unknown.

    If the reward or the cost of a stage or arm is not a learned model, the labels of this job are counted as calls of the
    reward.
    All other labels are labels of the data. The updates are those of the run alone, from its last record.
    """
    job = study.arms[run.planned.name]
    tokens = None if run.diverged else run.evaluation["inference"].get("tokens_an_answer")
    answer = tokens and 2.0 * run.result["parameters"] * tokens
    if is_trained_elsewhere(job):
        return record.Spent(flops_an_answer=answer)
    labels = [(job, run.result["counts"]["labels"])]
    labels += [(study.stages[need.name], read_result(need)["counts"]["labels"]) for need in run.planned.needs]
    calls = sum(count for part, count in labels if any(spec and spec.buys_labels for spec in (part.reward, part.cost)))
    return record.Spent(
        labels=run.used["labels"] - calls,
        reward_calls=calls,
        updates=run.steps[-1].get("updates") if run.steps else 0,
        flops_an_answer=answer,
        **{name: run.used[name] for name in ("flops", "sampled_tokens", "trained_tokens")},
    )


def setting_differences(spec: Spec, default: Spec, prefix: str = "") -> Iterator[record.SettingDifference]:
    """Yields each setting in which a method's spec differs from the defaults, with the name of its field. The name of a
    nested field has a dot."""
    before = dict(default)
    for field, new in spec:
        old = before[field]
        if isinstance(new, Spec) and type(new) is type(old):
            yield from setting_differences(new, old, f"{prefix}{field}.")
        elif old != new:
            plain = (default.model_dump(mode="json")[field], spec.model_dump(mode="json")[field])
            yield record.SettingDifference(field=prefix + field, default=plain[0], value=plain[1])


def samples(arms: Arms) -> Iterator[record.Sample]:
    """Yields the first prompts of the test under the first seed, each with the answers of all arms."""
    firsts = {name: runs[0] for name, runs in arms.items() if not runs[0].diverged}
    if not firsts:
        return
    first = next(iter(firsts.values()))
    for index, sample in enumerate(first.evaluation["samples"]):
        answers = {name: run.evaluation["samples"][index] for name, run in firsts.items()}
        yield record.Sample(
            problem=sample["problem"],
            # An arm may add examples to a prompt. The shortest prompt has no such examples.
            prompt=min((answer["prompt"] for answer in answers.values()), key=len),
            level=sample["level"],
            seed=first.seed,
            answers=tuple(sample_answer(name, answer) for name, answer in answers.items()),
        )


def sample_answer(arm: str, answer: Mapping[str, Any]) -> record.Answer:
    parts = {name: answer[name] for name in ("text", "score", "outcome", "passed", "truncated")}
    return record.Answer(arm=arm, detail=failure_words(answer["detail"]), **parts)


def failure_words(detail: Mapping[str, Any]) -> str:
    """Describes the first test that failed, with one line for each part of `detail`. A part with several lines becomes
    an indented block. Long parts are cut."""
    parts: list[str] = []
    for key, value in detail.items():
        words = str(value).strip("\n")
        words = words if len(words) <= LONGEST_DETAIL else words[:LONGEST_DETAIL] + " …"
        parts.append(f"{key}: {words}" if "\n" not in words else f"{key}:\n{indent(words, '  ')}")
    return "\n".join(parts)


def model_subject(study: Study, result: Mapping[str, Any]) -> record.Subject:
    size = f"{result['parameters']:,} parameters" + (", trained through LoRA" if study.model.lora else "")
    return record.Subject(name=study.model.name, description=size, notices=tuple(result["notices"]))


def pairwise_results(study: Study, directory: Path) -> Iterator[record.PairwiseResult]:
    """Yields the result for every pair of arms that a pairwise evaluator has compared under at least one seed."""
    for name, pairing in study.pairwise.items():
        evaluator = evaluator_result(study, name, pairing.evaluator, directory)
        pairs = pairing.pairs_among(study.arms)
        for first, second in pairs:
            places = [match_directory(directory / f"seed-{seed}", name, first, second) for seed in range(study.seeds)]
            results = [read_result(place, {"problems": dict}) for place in places if (place / RESULT).exists()]
            if results:
                yield pairwise_result(
                    name, results, measure=pairing.evaluator.measure, evaluator=evaluator, family=len(pairs)
                )


def evaluator_result(study: Study, name: str, spec: HoldsModels, directory: Path) -> record.EvaluatorResult:
    """Describes an evaluator. For a learned evaluator, adds the accuracies of its reward model and of its cost model on
    held-out pairs, each with a Wilson interval over the pairs of all seeds. `can_rank` then says whether the
    intervals of the order lie above one half."""
    costs = [path.removeprefix(STAGE) for path in spec.cost_models() if path.startswith(STAGE)]
    rewards = [stage for stage in model_stages(spec) if stage not in costs]
    by_reward = held_out_rows(study, directory, rewards)
    by_cost = held_out_rows(study, directory, costs)
    result = record.EvaluatorResult(
        name=name,
        description=first_paragraph(type(spec)),
        accuracy=pooled_accuracy(by_reward),
        cost_accuracy=pooled_accuracy(by_cost),
        sign_accuracy=pooled_accuracy(by_cost, "sign_accuracy"),
    )
    return result.model_copy(update={"can_rank": result.doubtful is None})


def held_out_rows(study: Study, directory: Path, stages: Sequence[str]) -> list[Mapping[str, Any]]:
    """Returns the measurements on held-out pairs of the first of these stages, one for each seed; [] if a seed has
    none."""
    rows = [result["held_out"] for stage in stages[:1] for result in stage_results(directory, stage, study.seeds)]
    return rows if all(rows) else []


def shared_budget(study: Study) -> record.SharedBudget:
    if study.budget is None:
        return record.SharedBudget(binding="none")
    unit = study.budget.unit
    return record.SharedBudget(binding=unit, amount=study.budget.amount, note=BUDGET_NOTES[unit])


def tuning_result(study: Study) -> record.TuningResult:
    if study.tuning is None:
        return record.TuningResult(
            note="Nothing was tuned for this study. Every arm has the settings that this report shows."
        )
    count, seeds = study.tuning.trials, ", ".join(map(str, study.tuning.seeds))
    return record.TuningResult(
        note=f"Up to {count} trials for each arm, chosen on the validation split. Seeds of the tuning, which the report "
        f"does not use: {seeds}.",
        metric="validation score at the best temperature",
        trials=study.tuning.shipped,
        at_edge=tuple(edge.words for edge in values_at_edge(study.tuning)),
    )


def unrewarded(arms: Arms) -> Iterator[str]:
    """Yields a sentence for each arm with a run in which no sample passed its tests during training, so that the run
    had no reward to learn from."""
    for name, runs in arms.items():
        count = sum(run.never_rewarded for run in runs)
        if count:
            where = "" if len(runs) == 1 else f"in {count} of {len(runs)} runs "
            yield f"{name} never received a reward: {where}no sample passed its tests during training."


def automatic_caveats(study: Study, arms: Arms) -> Iterator[str]:
    """Yields reasons to doubt the study's verdict that follow from its results and settings, such as too few seeds."""
    if saved_models(study.evaluators[study.main_evaluator]):
        yield (
            "The evaluator also chose the checkpoints and temperatures, on the validation split and by the same rule for "
            "every arm."
        )
    if study.headline not in ("", study.score):
        yield explain_choice(study.headline, study.score, study.main_evaluator)
    count = len({run.seed for runs in arms.values() for run in runs})
    if count < record.ENOUGH_SEEDS:
        few = counted(count, "seed")
        yield f"Preliminary: {few}. With so few seeds the differences between runs are poorly known. Use 5 seeds or more."
    edges: dict[str, list[str]] = {}
    for edge in values_at_edge(study.tuning) if study.tuning else ():
        edges.setdefault(edge.arm, []).append(edge.field)
    if edges:
        fields = "; ".join(f"{arm} ({', '.join(names)})" for arm, names in edges.items())
        yield (
            f"Some tuned values are the smallest or largest that were tried, so a better value may be outside the tried "
            f"range: {fields}."
        )
    for name, runs in arms.items():
        count = sum(run.diverged for run in runs)
        if count:
            yield (
                f"{name}: {count} of {len(runs)} runs diverged. A diverged run counts as if it solved nothing. If the "
                "scores have no zero, it gets the worst score of any run."
            )
        if len(runs) < study.seeds:
            yield f"{name} has finished {len(runs)} of {study.seeds} seeds. Comparisons use the seeds that both arms have."


def unfinished_words(study: Study, arms: Arms, command: str) -> str:
    """Returns a sentence that names the missing arms and seeds and says how to continue; '' if the study is
    finished."""
    missing: list[str] = []
    count = 0
    for name in study.arms:
        seeds = sorted(set(range(study.seeds)) - {run.seed for run in arms.get(name, ())})
        count += len(seeds)
        if len(seeds) == study.seeds:
            missing.append(f"{name} (every seed)")
        elif seeds:
            missing.append(f"{name} (seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))})")
    if not missing:
        return ""
    runs = counted(len(study.arms) * study.seeds, "run")
    way = f"To continue: {command}" if command else "To continue, repeat the study's command with the same --output."
    return f"Unfinished: {count} of {runs} are missing: {'; '.join(missing)}. {way}"


def first_paragraph(spec_class: type[Spec]) -> str:
    """Returns the first paragraph of the docstring of a spec class, on one line. Reports print it as a description."""
    return " ".join((spec_class.__doc__ or "").split("\n\n")[0].split())
