"""Writes sentences about the limits of a study, such as few seeds, diverged or missing runs, and arms that never
received a reward."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean

from preflab.analysis import record
from preflab.analysis.data_notes import RunResults
from preflab.analysis.gather import Arms, versions_of
from preflab.arm.spec import STAGE, Job, is_served, saved_models
from preflab.evaluation.several import explain_choice
from preflab.study.looks import Look, is_complete
from preflab.study.spec import Study
from preflab.study.tuning import values_at_edge
from preflab.text import counted


def name_unrewarded(arms: Arms) -> Iterator[str]:
    """Yields a sentence for each arm with a run that never received a reward. During the training of such a run,
    samples were judged, but no sample passed the tests of its problem."""
    for name, runs in arms.items():
        count = sum(run.never_rewarded for run in runs)
        if count:
            where = "" if len(runs) == 1 else f"in {count} of {len(runs)} runs "
            yield f"{name} never received a reward: {where}no sample passed its tests during training."


def describe_mismatch(study: Study, arms: Arms) -> Iterator[str]:
    """Yields sentences about a sampler other than the native one: that it drew all answers, and for each arm that
    measured it, how far the sampler's log-probabilities were from the learner's (see `methods.shared.mismatch`).
    Yields nothing for the native sampler, unless it sampled in half precision and an arm measured the mismatch."""
    sampler = study.sampler.kind_name
    if sampler != "native":
        yield f"The sampler `{sampler}` drew all answers, in training and for the measurements."
    for name, runs in arms.items():
        steps = [step for run in runs for step in run.steps if "mismatch_kl" in step]
        if not steps:
            continue
        mean, most = fmean(step["mismatch_kl"] for step in steps), max(step["mismatch_kl"] for step in steps)
        capped = [step["importance_capped"] for step in steps if "importance_capped" in step]
        correction = "The difference was not corrected by importance weights."
        if capped:
            share = f"{fmean(capped):.2%} of the tokens were at the cap"
            correction = f"Truncated importance weights corrected the policy loss; {share}."
        yield (
            f"{name}: the sampler's log-probabilities differed from the learner's, which computed the old log-probabilities "
            f"again. The KL was {mean:.2g} nats per token on average and {most:.2g} in the worst step; the largest ratio of "
            f"two probabilities was {max(step['mismatch_ratio'] for step in steps):.3g}. {correction}"
        )


def find_caveats(study: Study, arms: Arms) -> Iterator[str]:
    """Yields reasons to doubt the study's verdict, such as too few seeds. The reasons follow from the study's results
    and settings."""
    chosen = "checkpoints and temperatures" if len(study.evaluation.temperatures) > 1 else "checkpoints"
    if saved_models(study.evaluators[study.main_evaluator]):
        yield f"The evaluator also chose the {chosen}, on the validation split and by the same rule for every arm."
    yield from name_shared_bases(study)
    yield from describe_mismatch(study, arms)
    if study.headline not in ("", study.score):
        yield explain_choice(study.headline, study.score, study.main_evaluator, chosen=chosen)
    count = len({run.seed for runs in arms.values() for run in runs})
    if count < record.ENOUGH_SEEDS:
        few = counted(count, "seed")
        yield f"Preliminary: {few}. With so few seeds the differences between runs are poorly known. Use 5 seeds or more."
    revisions = versions_of(run.planned.directory for row in arms.values() for run in row)["revision"].split(", ")
    if len(revisions) > 1:
        yield (
            f"{len(revisions)} revisions of preflab made the runs ({', '.join(revisions)}). If a revision changed the "
            "training or the measurement, its effect mixes with the differences between the arms."
        )
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
                f"{name}: {count} of {len(runs)} runs diverged. A diverged run counts as if it solved nothing. If scores "
                "are negative, or if lower is better, a diverged run gets the worst score of any run."
            )
        if is_served(study.arms[name]):
            yield f"{name}: {' '.join(dict.fromkeys(notice for run in runs for notice in run.result.notices))}"
        if len(runs) < study.seeds:
            yield f"{name} has finished {len(runs)} of {study.seeds} seeds. Comparisons use the seeds that both arms have."


def name_shared_bases(study: Study) -> Iterator[str]:
    """Yields a sentence if the model of an evaluator was trained in the study from the same weights as the policy of
    an arm. Such an evaluator may make the same errors as the policies. Yields one sentence for each such base model."""
    bases = {find_base(study, arm) for arm in study.arms.values() if arm.method is not None} - {""}
    evaluators = {**study.evaluators, **{name: pairing.evaluator for name, pairing in study.pairwise.items()}}
    sharing: dict[str, list[str]] = {}
    for name, evaluator in evaluators.items():
        stages = [path.removeprefix(STAGE) for path in saved_models(evaluator) if path.startswith(STAGE)]
        for base in sorted(bases & {find_base(study, study.stages[stage]) for stage in stages}):
            sharing.setdefault(base, []).append(name)
    for base, names in sharing.items():
        yield (
            f"{', '.join(names)}: the model that scores the answers was trained from the same weights as the policies, "
            f"{base}, so it may make the same errors. A model with another base would be better evidence."
        )


def find_base(study: Study, job: Job) -> str:
    """Returns the name of the weights from which a stage or an arm was trained, such as `smollm2`. If the weights were
    random before a first stage, returns the name of this stage. Returns '' for a run that begins with random weights
    itself."""
    first = ""
    while job.init is not None and job.init.startswith(STAGE):
        first, job = job.init, study.stages[job.init.removeprefix(STAGE)]
    model = job.model or study.model
    return job.init or (first if model.name == "tiny" else model.name)


def name_cut_short(results: RunResults) -> Iterator[str]:
    """Yields a sentence for each stage or arm in which some runs did not reach a plateau of the validation score,
    although the stage or arm has a `plateau` setting. Such a run began the cooldown of the learning rate when it had
    used 85% of the method's length or of the budget. `results`: the results of the runs of each stage or arm."""
    for name, rows in results.items():
        endings = [row.ending for row in rows if row.ending is not None]
        count = sum(not ending.reached for ending in endings)
        if count:
            yield (
                f"{name}: in {count} of {len(endings)} runs validation had improved recently when the run had used 85% of "
                "the most that it may use. A longer run may be better."
            )


def describe_unfinished(study: Study, arms: Arms, command: str, *, look: Look, settled: bool) -> str:
    """Returns a sentence that names the missing arms and seeds and says how to continue; '' if the study is
    finished. `look`: the look at which the results are analysed. `settled`: whether the study stops at this look."""
    if study.seed_looks and not settled and look.seeds < study.seeds and is_complete(study, arms, look.seeds):
        return f"Unfinished: not settled after {look.seeds} seeds, so that the study goes on. {continue_words(command)}"
    study = study.until_seed(look.seeds)
    missing: list[str] = []
    count = 0
    for name in study.arms:
        seeds = sorted({*study.seed_numbers} - {run.seed for run in arms.get(name, ())})
        count += len(seeds)
        if len(seeds) == study.seeds:
            missing.append(f"{name} (every seed)")
        elif seeds:
            missing.append(f"{name} (seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))})")
    if not missing:
        return ""
    runs = counted(len(study.arms) * study.seeds, "run")
    return f"Unfinished: {count} of {runs} are missing: {'; '.join(missing)}. {continue_words(command)}"


def continue_words(command: str) -> str:
    return f"To continue: {command}" if command else "To continue, repeat the study's command with the same --output."
