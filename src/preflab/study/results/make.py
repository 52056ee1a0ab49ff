"""Makes the `Results` of a study: analyses the results of the runs, and adds the claims and other declarations of the
study file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations, starmap
from pathlib import Path

from preflab.analysis import record
from preflab.analysis.agreement import with_agreement
from preflab.analysis.board import Board
from preflab.analysis.collapse import collapse_rule, collapsed_seeds, measure_collapse
from preflab.analysis.data_notes import collect_data_notes
from preflab.analysis.decide import decide_claims
from preflab.analysis.gather import DECODINGS, Arms, FinishedRun, gather, mean_used, timing_of, versions_of
from preflab.analysis.matches import pairwise_result
from preflab.analysis.measured import measured_values, measures_of
from preflab.analysis.record import DecodingChoice
from preflab.analysis.relative import lacks_reference, missing_words, relative_measures, with_relative
from preflab.analysis.reward_models import reward_model_result, stage_results
from preflab.analysis.scores import Scores, share_seeds
from preflab.analysis.spread import spread_caveats
from preflab.analysis.statistics import compare_all, compare_with_baselines, find_winner, mean_interval
from preflab.analysis.verdict import Evidence, study_verdict
from preflab.arm.match import match_directory
from preflab.arm.result import MatchResult, TrainedResult, result_class
from preflab.arm.spec import is_trained_elsewhere
from preflab.errors import UserError
from preflab.evaluation.relative import RelativeMeasure
from preflab.study.looks import Look, describe_looks, is_settled, look_reached, until
from preflab.study.plan import planned_runs
from preflab.study.results.arms import arm_result
from preflab.study.results.caveats import describe_unfinished, find_caveats, name_cut_short, name_unrewarded
from preflab.study.results.samples import choose_samples
from preflab.study.results.subjects import (
    describe_budget,
    describe_evaluator,
    describe_model,
    describe_testbed,
    describe_tuning,
)
from preflab.study.spec import Study
from preflab.train.directory import RESULT
from preflab.train.finished import read_result


def study_results(study: Study, directory: Path, *, command: str, failures: Sequence[str] = ()) -> record.Results:
    """Returns all results that the report shows. Raises `UserError` if no arm has finished."""
    gathered = gather(planned_runs(study, directory))
    if not gathered:
        why = "".join(f" {failure}" for failure in failures[:1])
        raise UserError(f"No arm of {study.name!r} has finished in {directory}: there is nothing to report yet.{why}")
    look = look_reached(study, gathered)
    part, arms = study.until_seed(look.seeds), until(study, gathered, look)
    results = results_at(look, part, arms, directory, command=command, failures=failures)
    unfinished = describe_unfinished(study, arms, command, look=look, settled=is_settled(results))
    return results.model_copy(update={"looks": describe_looks(study, look, results), "unfinished": unfinished})


def results_at(
    look: Look, study: Study, gathered: Arms, directory: Path, *, command: str, failures: Sequence[str]
) -> record.Results:
    """Returns the results of a study at one of its looks. `study`: the study with only the seeds of this look.
    `gathered`: the finished runs of these seeds."""
    arms, declared, missing = with_relative_measures(study, gathered)
    boards, headline = make_boards(study, arms, declared), study.headline or study.score
    decodings = study.evaluation.decodings
    measured = headline_scores(study, arms, boards, headline)
    scores: dict[DecodingChoice, dict[str, Scores]] = {decoding: measured[decoding] for decoding in decodings}
    means = {name: mean_interval(table) for name, table in scores["chosen"].items()}
    evaluators = describe_evaluators(study, directory, arms, boards, measured["unit"])
    stages = results_of_stages(study, directory)
    collapses = find_collapses(study, arms, measured, declared[headline])
    run_results = {name: [run.result for run in runs] for name, runs in arms.items()}
    every_run = [run for runs in arms.values() for run in runs]
    decides = evaluators[study.main_evaluator]
    answer = partial(form_verdict, study, arms, headline=declared[headline], evaluator=decides, times=look.times)
    verdicts = {decoding: answer(table, decoding=decoding) for decoding, table in scores.items()}
    return record.Results(
        study=study.name,
        question=study.question,
        model=describe_model(study, [run.result for run in every_run]),
        testbed=describe_testbed(study),
        evaluators=tuple(evaluators.values()),
        budget=describe_budget(study),
        seeds=tuple(sorted({run.seed for run in every_run})),
        metrics=tuple(measures_of(headline, arms, declared)),
        headline=headline,
        decodings=decodings,
        score=study.score,
        levels=tuple(dict.fromkeys(level for level in boards["chosen"].levels.values() if level)) if boards else (),
        arms=tuple(
            arm_result(
                study, runs, measured_values(runs, boards, headline, declared), directory, collapse=collapses.get(name)
            )
            for name, runs in arms.items()
        ),
        collapse_rule=collapse_rule(study.collapse, declared[headline]),
        pairwise=tuple(pairwise_results(study, directory, times=look.times)),
        comparisons=tuple(compare_arms(study, scores, headline, times=look.times)),
        claims=tuple(decided_claims(study, arms, boards, scores, evaluators, times=look.times)),
        paper=study.paper,
        sweep=study.sweep and study.sweep.among(arms),
        reward_models=tuple(filter(None, starmap(reward_model_result, stages.items()))),
        verdict=verdicts["chosen"],
        unit_verdict=verdicts.get("unit"),
        tuning=describe_tuning(study),
        samples=tuple(choose_samples(arms)),
        unrewarded=tuple(name_unrewarded(arms)),
        caveats=(
            *(*study.caveats, *failures, *find_caveats(study, arms), *spread_caveats(means, headline)),
            *missing_words(missing),
            *name_cut_short({f"stage {name}": rows for name, rows in stages.items()} | run_results),
            *collect_data_notes(run_results, stages),
        ),
        versions=versions_of(run.planned.directory for run in every_run),
        command=command,
        timing=tuple(timing_of(run) for run in every_run),
    )


def results_of_stages(study: Study, directory: Path) -> dict[str, list[TrainedResult]]:
    """Returns the results of each stage's finished runs."""
    seeds = study.seed_numbers
    return {name: stage_results(directory, name, seeds, result_class(job)) for name, job in study.stages.items()}


def describe_evaluators(
    study: Study, directory: Path, arms: Arms, boards: Mapping[DecodingChoice, Board], trusted: Mapping[str, Scores]
) -> dict[str, record.EvaluatorResult]:
    """Returns a description of each evaluator, which includes the evaluator's agreement with the main evaluator.
    `trusted`: each arm's scores by the main evaluator at temperature 1."""
    described = {name: describe_evaluator(study, name, spec, directory) for name, spec in study.evaluators.items()}
    return with_agreement(described, study.measures, arms, boards["unit"], trusted) if boards else described


def with_relative_measures(
    study: Study, gathered: Arms
) -> tuple[Arms, dict[str, record.Measure], list[RelativeMeasure]]:
    """Adds the relative measures, which compare an arm with a reference arm. Returns the arms, all declared measures by
    name, and the relative measures that cannot be computed. A relative measure cannot be computed if its reference arm
    is not measured under every seed."""
    relative = relative_measures(study.evaluators)
    missing = [each for each in relative if lacks_reference(gathered, each)]
    known = [each for each in relative if each not in missing]
    declared = {measure.name: measure for row in study.measures.values() for measure in row}
    declared |= {each.measure.name: each.measure for each in known}
    return with_relative(gathered, known), declared, missing


def headline_scores(
    study: Study, arms: Arms, boards: Mapping[DecodingChoice, Board], headline: str
) -> dict[DecodingChoice, dict[str, Scores]]:
    """Returns the scores of each arm on the headline measure, for each decoding setting (the chosen temperature and
    temperature 1). If every run diverged, the value for each decoding setting is {}."""
    as_is = is_as_it_is(study)

    def table(decoding: DecodingChoice, runs: Sequence[FinishedRun]) -> Scores:
        return replace(boards[decoding].table(runs, decoding, measure=headline), as_is=as_is)

    return {decoding: {name: table(decoding, runs) for name, runs in arms.items() if boards} for decoding in DECODINGS}


def decided_claims(
    study: Study,
    arms: Arms,
    boards: Mapping[DecodingChoice, Board],
    scores: Mapping[DecodingChoice, Mapping[str, Scores]],
    evaluators: Mapping[str, record.EvaluatorResult],
    *,
    times: float,
) -> list[record.DecidedClaim]:
    """Decides the study's claims. `scores`: the scores on the headline measure. These scores decide every claim that
    does not name another measure. A claim is left undecided if its evaluator might be no better than chance."""
    names = {claim.measure for claim in study.claims} - {""}
    tables = {name: headline_scores(study, arms, boards, name) for name in names}
    by_measure: dict[str, Mapping[DecodingChoice, Mapping[str, Scores]]] = {"": scores}
    by_measure |= {name: {decoding: table[decoding] for decoding in scores} for name, table in tables.items()}
    weak = {name for name, each in evaluators.items() if not each.can_rank}
    unreliable = {measure.name for name in weak for measure in study.measures.get(name, ())}
    unreliable |= {""} if study.main_evaluator in weak else set()
    return decide_claims(study.claims, by_measure, unreliable=unreliable, times=times)


def is_as_it_is(study: Study) -> bool:
    """Returns True if every arm measures a policy that the study did not train. The runs of an arm are then not a
    sample of training runs."""
    return all(map(is_trained_elsewhere, study.arms.values()))


def make_boards(study: Study, arms: Arms, declared: Mapping[str, record.Measure]) -> dict[DecodingChoice, Board]:
    """Returns two boards, one for the chosen temperature and one for temperature 1. A board makes tables of scores.
    Returns {} if every run of every arm diverged."""
    if all(run.diverged for runs in arms.values() for run in runs):
        return {}
    return {name: Board.of(arms, name, study.score, declared.values()) for name in DECODINGS}


def form_verdict(
    study: Study,
    arms: Arms,
    scores: Mapping[str, Scores],
    *,
    headline: record.Measure,
    evaluator: record.EvaluatorResult,
    decoding: DecodingChoice,
    times: float,
) -> record.StudyVerdict:
    """Returns the verdict on the study's question at one decoding setting (such as greedy decoding). The verdict
    contains the comparisons that support it. `scores`: the scores of each arm at this decoding setting."""
    if not scores:
        advice = "Lower the learning rates, and see the reasons under Runs."
        return record.StudyVerdict(sentence=f"No result: every run of every arm diverged. {advice}")
    baselines = [name for name in scores if study.arms[name].baseline]
    contestants = {name: table for name, table in scores.items() if name not in baselines} or scores
    winner = find_winner(contestants, times=times)
    starts = {name: find_starts(study, name, baselines) for name in contestants if name not in baselines}
    return study_verdict(
        Evidence(winner=winner, starts=compare_with_baselines(scores, starts, baselines, winner.leader, times=times)),
        scores,
        headline=headline,
        evaluator=evaluator,
        budget=study.budget.unit if study.budget else None,
        used={name: mean_used(runs) for name, runs in arms.items()},
        samples_per_answer=study.arms[winner.leader].inference.n,
        decoding=decoding,
    )


def find_collapses(
    study: Study, arms: Arms, scores: Mapping[DecodingChoice, Mapping[str, Scores]], headline: record.Measure
) -> dict[str, record.Collapse]:
    """Returns, for each arm that this study trained, the fraction of runs that collapsed and the mean score of the
    other runs. `scores`: each arm's scores at the chosen temperature and at temperature 1. The scores at a temperature
    are {} if every run of the study diverged."""
    unit, collapses = scores["unit"], dict[str, record.Collapse]()
    for name, runs in arms.items():
        if study.arms[name].method is None or study.arms[name].inference.n > 1:
            continue
        starts = [unit[start] for start in own_starts(study, name, unit)] if headline.share else []
        seeds = [run.seed for run in runs]
        collapsed = collapsed_seeds(unit[name], starts, study.collapse) if unit else tuple(seeds)
        tables: dict[DecodingChoice, Scores] = {decoding: table[name] for decoding, table in scores.items() if table}
        collapses[name] = measure_collapse(seeds, collapsed, tables, headline, compared=bool(starts))
    return collapses


def own_starts(study: Study, arm: str, names: Iterable[str]) -> list[str]:
    """Returns the baselines in `names` that measure exactly the policy from which `arm` starts."""
    start, baselines = study.arms[arm].init, [name for name in names if study.arms[name].baseline]
    return [name for name in baselines if study.arms[name].method is None and study.arms[name].policy == start]


def find_starts(study: Study, arm: str, baselines: Sequence[str]) -> Sequence[str]:
    """Returns the baselines that measure the policy from which the arm starts. If there is no such baseline, returns
    all baselines."""
    return own_starts(study, arm, baselines) or baselines


def compare_arms(
    study: Study, scores: Mapping[DecodingChoice, Mapping[str, Scores]], headline: str, *, times: float
) -> Iterator[record.Comparison]:
    """Compares pairs of arms at each decoding setting (such as greedy decoding and sampling at temperature 1). The
    pairs are the study's `comparisons`, or all pairs of arms if there are no `comparisons`. Leaves out a pair if its
    arms have no runs of the same seed."""
    arms = scores["chosen"]
    named = [pair for pair in study.comparisons if pair[0] in arms and pair[1] in arms]
    pairs = [pair for pair in named or combinations(arms, 2) if share_seeds(*(arms[name] for name in pair))]
    for decoding, table in scores.items():
        for comparison in compare_all(table, pairs, times=len(scores) * times):
            yield comparison.model_copy(update={"metric": headline, "decoding": decoding, "named": bool(named)})


def pairwise_results(study: Study, directory: Path, *, times: float) -> Iterator[record.PairwiseResult]:
    """Yields the result for every pair of arms that a pairwise evaluator has compared under at least one seed."""
    for name, pairing in study.pairwise.items():
        evaluator = describe_evaluator(study, name, pairing.evaluator, directory)
        pairs = pairing.pairs_among(study.arms)
        for first, second in pairs:
            places = [match_directory(directory / f"seed-{seed}", name, first, second) for seed in study.seed_numbers]
            results = [read_result(place, MatchResult) for place in places if (place / RESULT).exists()]
            if results:
                yield pairwise_result(
                    name,
                    results,
                    measure=pairing.evaluator.measure,
                    evaluator=evaluator,
                    family=len(pairs) * times,
                    as_is=is_as_it_is(study),
                )
