"""Defines a study file: the arms to compare, their data and evaluators, and their budget. Does not import torch.

A study's `stages` (such as SFT, pairs, reward model) run once for each seed. All runs of `arms` under one seed use the
same output of the stages, so that the scores of the arms are paired. The initialisation, the data order, the noise, the
pairs, the rollouts and the evaluation are drawn anew for each seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from preflab.analysis.record import Claim, PaperTable, Sweep, TuningTrial, check_arms
from preflab.arm.match import PAIRWISE
from preflab.arm.spec import (
    STAGES,
    Job,
    RunSettings,
    is_served,
    name_stages,
    refuse_plateau,
    saved_models,
    stages_needed,
)
from preflab.errors import UserError, refuse_unknown
from preflab.evaluation.hidden_tests import HiddenTests
from preflab.evaluation.measure import Measure
from preflab.evaluation.several import (
    Evaluators,
    evaluator_of,
    measures_by_evaluator,
    named_evaluators,
    refuse_unless_higher,
)
from preflab.fields import Name, Share
from preflab.models.spec import ModelSpec
from preflab.spec import HoldsModels, Spec, parse_spec, variant
from preflab.study.pairing import Pairings, refuse_same_pairs
from preflab.study.products import check_models, check_products
from preflab.testbeds import TESTBEDS
from preflab.testbeds.base import TestbedSpec
from preflab.train.settings import Budget


class Contestant(Job):
    """An arm of a study. `baseline`: True if the arm is a starting policy. The report shows a baseline, but a baseline
    cannot win."""

    description: str = ""
    baseline: bool = False


class Tuning(Spec):
    """Settings of the tuning stage, which tries up to `trials` settings for every arm in `spaces`. `spaces`: for each
    arm, the dotted names of fields and the values to try. The best setting is chosen on the validation split, with
    `seeds` that the report does not use. `shipped`: records of earlier trials. The arms in the study file already have
    the best settings of these trials."""

    trials: int = Field(default=6, ge=1)
    seeds: tuple[int, ...] = (1000,)
    spaces: dict[str, dict[str, tuple[JsonValue, ...]]]
    shipped: tuple[TuningTrial, ...] = ()


class Pilot(Spec):
    """The standard deviations of the paired difference of two arms in earlier runs, in units of the headline measure.
    With these numbers, `--plan` computes the smallest difference that the study can detect. `source`: a description of
    the earlier runs. The other fields are arguments of `analysis.statistics.detectable_difference`."""

    source: str
    seed_sd: float = Field(ge=0)
    problem_sd: float = Field(ge=0)
    noise_sd: float = Field(ge=0)


class Study(RunSettings):
    """The content of a study file. `evaluators`: the evaluators that measure every arm. A file with a single evaluator
    can use the key `evaluator`. `headline`: the measure that decides the verdict, such as "pass@5", or "NAME/MEASURE"
    for a measure of the evaluator NAME if NAME is not the first evaluator. The default is the first evaluator's first
    measure. `pairwise`: evaluators that compare the answers of two arms.

    `seeds`: a number, or `{looks: [5, 8, 12]}` for a study that looks at its results after 5, 8 and 12 seeds, and stops
    once the results are settled (see `study.looks`). `first_seed`: the first seed. A repetition of the study can use
    other seeds. `comparisons`: the pairs of arms that the report compares; by default all pairs. `claims`: statements
    that the report decides one by one, with one correction for multiple tests over all claims. `paper`: a table from a
    paper, which the report shows. `sweep`: a factor that differs between the arms; the report plots this factor.
    `budget`: the limit of each arm. The cost of an arm's stages is charged to the arm. `collapse`: a fraction. A run
    has collapsed if it diverged, or if its headline measure at temperature 1 is below this fraction of its starting
    policy's headline measure. `pilot`: standard deviations from earlier runs. With these numbers, `--plan` computes the
    smallest difference that each claim can detect.
    """

    schema_version: Literal[1] = 1
    name: Name
    question: str = ""
    model: ModelSpec = ModelSpec()
    testbed: Annotated[TestbedSpec, *variant(TESTBEDS)]
    evaluators: Evaluators = {"hidden-tests": HiddenTests()}
    headline: str = ""
    seeds: int = Field(default=5, ge=1)
    first_seed: int = Field(default=0, ge=0)
    seed_looks: tuple[Annotated[int, Field(ge=3)], ...] = Field(default=(), max_length=3)
    budget: Budget | None = None
    collapse: Share = 0.5
    pilot: Pilot | None = None
    stages: dict[Name, Job] = {}
    arms: dict[Name, Contestant] = Field(min_length=1)
    comparisons: tuple[tuple[str, str], ...] = ()
    pairwise: Pairings = {}
    claims: tuple[Claim, ...] = ()
    paper: PaperTable | None = None
    sweep: Sweep | None = None
    tuning: Tuning | None = None
    caveats: tuple[str, ...] = ()
    memory_gb: float = Field(default=1.0, gt=0)

    _one_or_several = model_validator(mode="before")(named_evaluators)

    @model_validator(mode="before")
    @classmethod
    def _seeds_or_looks(cls, data: Any) -> Any:
        """Reads `seeds: {looks: [5, 8, 12]}` as 12 seeds with looks after 5, 8 and 12."""
        seeds = data.get("seeds") if isinstance(data, dict) else None
        if not isinstance(seeds, dict):
            return data
        looks = seeds.get("looks")
        if set(seeds) != {"looks"} or not isinstance(looks, (list, tuple)) or not looks:
            raise ValueError("`seeds` is a number, or looks such as `seeds: {looks: [5, 8, 12]}`")
        return {**data, "seeds": looks[-1], "seed_looks": tuple(looks)}

    @model_validator(mode="after")
    def _looks_rise(self) -> Self:
        if self.seed_looks and (*self.seed_looks,) != (*sorted({*self.seed_looks}),):
            raise UserError(
                f"`seeds.looks` is {list(self.seed_looks)}. Give at most three numbers of seeds, in rising order."
            )
        if self.seed_looks and self.seed_looks[-1] != self.seeds:
            raise UserError(f"`seed_looks` ends with {self.seed_looks[-1]}, but `seeds` is {self.seeds}.")
        return self

    @model_validator(mode="after")
    def _tuning_has_other_seeds(self) -> Self:
        self._refuse_tuning_seeds()
        return self

    def _refuse_tuning_seeds(self) -> None:
        """Raises `UserError` if a seed of the study's runs is also a seed of the tuning stage."""
        both = {*self.seed_numbers} & {*(self.tuning.seeds if self.tuning else ())}
        if both:
            raise UserError(
                f"`tuning.seeds` contains {min(both)}, which the study's runs also use. Tune with other seeds."
            )

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        if not self.evaluators:
            raise UserError("`evaluators` is empty. A study needs at least one evaluator.")
        for name in (STAGES, PAIRWISE):
            if name in self.arms:
                raise UserError(
                    f"`arms.{name}`: preflab uses this folder name for other files. Give the arm another name."
                )
        for evaluator in self.evaluators.values():
            refuse_unknown(name_stages(saved_models(evaluator)), self.stages, "`evaluators` names the stage")
            refuse_unknown([each.reference for each in evaluator.relative], self.arms, "`relative_to` names the arm")
        for name, job in (*self.stages.items(), *self.arms.items()):
            refuse_unknown(stages_needed(job), self.stages, f"`{name}` needs the stage")
            refuse_plateau(name, job, self.looks)
        for name, stage in self.stages.items():
            if is_served(stage):
                raise UserError(f"`stages.{name}` has a served policy, which makes nothing. Move it to `arms`.")
            self._refuse_circle((name,))
        check_products(self.stages, self.arms, self.evaluators)
        refuse_same_pairs(self.comparisons)
        refuse_unknown(chain.from_iterable(self.comparisons), self.arms, "`comparisons` names the arm")
        for name, pairing in self.pairwise.items():
            pairing.check(f"pairwise.{name}", self.arms)
            refuse_unknown(
                name_stages(saved_models(pairing.evaluator)), self.stages, f"`pairwise.{name}` names the stage"
            )
            check_models(f"pairwise.{name}.evaluator", pairing.evaluator, self.stages)
        if self.tuning is not None:
            refuse_unknown(self.tuning.spaces, self.arms, "`tuning.spaces` names the arm")
            tuned = [trial.arm for trial in self.tuning.shipped]
            refuse_unknown(tuned, self.arms, "`tuning.shipped` names the arm")
        check_arms(self.claims, self.sweep, self.arms)
        self._refuse_measures_of_claims()
        if self.headline.partition("/")[0] in self.pairwise.keys() - self.evaluators.keys():
            raise UserError(
                f"`headline` is {self.headline!r}, which is a pairwise evaluator. Name a measure of `evaluators`."
            )
        evaluator_of(self.evaluators, self.evaluation, self.headline)
        return self

    def _refuse_measures_of_claims(self) -> None:
        """Raises `UserError` if a claim names a measure that the study does not measure on each problem, or a measure
        for which lower is better."""
        evaluators = {each.name: name for name, row in self.measures.items() for each in row}
        measures = {each.name: each for row in self.measures.values() for each in row}
        for claim in self.claims:
            if claim.measure:
                refuse_unknown([claim.measure], measures, f"`claims`: {claim.name} names the measure")
                refuse_unless_higher(measures[claim.measure], f"the claim {claim.name} is decided by this measure")
                if self.evaluators[evaluators[claim.measure]].of_policy:
                    raise UserError(
                        f"`claims`: {claim.name} names {claim.measure!r}, which is not measured on the testbed's prompts."
                    )

    def _refuse_circle(self, path: tuple[str, ...]) -> None:
        """Raises `UserError` if a stage needs its own output, directly or through other stages. `path`: the names of
        stages, each of which needs the next. The search continues from the last stage."""
        for name in stages_needed(self.stages[path[-1]]):
            if name in path:
                raise UserError(f"`stages.{name}` needs itself: {' needs '.join((*path[path.index(name) :], name))}.")
            self._refuse_circle((*path, name))

    @property
    def seed_numbers(self) -> range:
        """The seeds of the study's runs."""
        return range(self.first_seed, self.first_seed + self.seeds)

    @property
    def measures(self) -> dict[str, tuple[Measure, ...]]:
        """The measures of each evaluator, under the names that the results use."""
        return measures_by_evaluator(self.evaluators, self.evaluation)

    @property
    def main_evaluator(self) -> str:
        """The name of the evaluator that measures `headline`, and whose score chooses temperatures and checkpoints."""
        return evaluator_of(self.evaluators, self.evaluation, self.headline)

    @property
    def score(self) -> str:
        """The name of the main evaluator's score."""
        return self.measures[self.main_evaluator][0].name

    def with_testbed(self, **changes: Any) -> Study:
        """Returns a copy of the study with changed settings of its testbed. If the testbed of a stage or arm reads the
        same data, the same settings change in this testbed. Testbeds of another kind or with other data stay unchanged.
        Raises `UserError` if the study's testbed does not have a setting of that name."""
        fields = type(self.testbed).model_fields
        if absent := next((name for name in changes if name not in fields), ""):
            has = "brings its own data" if absent == "data" else "has no such setting"
            raise UserError(f"The testbed {self.testbed.kind_name} {has}: --{absent.replace('_', '-')} does not apply.")

        def changed(testbed: Any) -> Any:
            if not reads_same_data(testbed, self.testbed):
                return testbed
            return parse_spec(type(testbed), {**testbed.model_dump(), **changes}, where="the command line")

        stages = {name: job.model_copy(update={"testbed": changed(job.testbed)}) for name, job in self.stages.items()}
        arms = {name: arm.model_copy(update={"testbed": changed(arm.testbed)}) for name, arm in self.arms.items()}
        return self.model_copy(update={"testbed": changed(self.testbed), "stages": stages, "arms": arms})

    def with_stage_data(self, stage: str, data: str) -> Study:
        """Returns a copy of the study in which a stage reads other data. Every stage and arm that reads the same data
        as this stage also gets the new data. Raises `UserError` if there is no such stage, or if the stage reads the
        data of the study."""
        refuse_unknown([stage], self.stages, f"The study {self.name!r} has no stage")
        own = self.stages[stage].testbed
        if own is None or "data" not in type(own).model_fields or reads_same_data(own, self.testbed):
            raise UserError(f"The stage {stage!r} reads the data of the study. Name the data of the study with --data.")

        def changed(job: Any) -> Any:
            if not reads_same_data(job.testbed, own):
                return job
            testbed = parse_spec(type(own), {**job.testbed.model_dump(), "data": data}, where="the command line")
            return job.model_copy(update={"testbed": testbed})

        stages = {name: changed(job) for name, job in self.stages.items()}
        return self.model_copy(
            update={"stages": stages, "arms": {name: changed(arm) for name, arm in self.arms.items()}}
        )

    def with_model(self, name: str) -> Study:
        """Returns a copy of the study with another base model. `name`: a model that preflab knows, a directory, or a
        name on the hub."""
        return self.model_copy(update={"model": self.model.model_copy(update={"name": name})})

    def with_first_seed(self, seed: int) -> Study:
        """Returns a copy of the study with the same number of seeds, beginning with `seed`. Raises `UserError` if
        `seed` is negative, or if the tuning stage uses one of the seeds."""
        if seed < 0:
            raise UserError(f"The first seed is {seed}. Seeds are 0 or more.")
        study = self.model_copy(update={"first_seed": seed})
        study._refuse_tuning_seeds()
        return study

    def until_seed(self, seeds: int) -> Study:
        """Returns a copy of the study with only its first `seeds` seeds and without looks."""
        return self.model_copy(update={"seeds": seeds, "seed_looks": ()})

    def narrowed(self, arms: Sequence[str] | None = None, seeds: int | None = None) -> Study:
        """Returns a copy of the study with only these arms and this number of seeds. Leaves out every comparison and
        claim that names another arm. Raises `UserError` if the study does not have one of the arms, if `seeds` is
        below 1, or if `seeds` is given and the study has looks."""
        if seeds is not None and seeds < 1:
            raise UserError(f"A study needs at least one seed, not {seeds}.")
        if seeds is not None and self.seed_looks:
            raise UserError(
                f"The study {self.name!r} looks at its results after {', '.join(map(str, self.seed_looks))} seeds. Its error "
                "rate holds only for these looks. For other numbers of seeds, write a study file with another `name`."
            )
        refuse_unknown(arms or (), self.arms, f"The study {self.name!r} has no arm")
        kept = {name: arm for name, arm in self.arms.items() if not arms or name in arms}
        tuning = self.tuning
        if tuning is not None:
            spaces = {name: space for name, space in tuning.spaces.items() if name in kept}
            shipped = tuple(trial for trial in tuning.shipped if trial.arm in kept)
            tuning = tuning.model_copy(update={"spaces": spaces, "shipped": shipped}) if spaces else None
        changes = {
            "arms": kept,
            "seeds": seeds or self.seeds,
            "comparisons": tuple(pair for pair in self.comparisons if pair[0] in kept and pair[1] in kept),
            "claims": tuple(claim.among(kept) for claim in self.claims if all(arm in kept for arm in claim.contrast)),
            "sweep": self.sweep and self.sweep.among(kept),
            "tuning": tuning,
            "pairwise": {name: each for name, pairing in self.pairwise.items() if (each := pairing.among(kept))},
        }
        return self.model_copy(update=changes)


def all_stages_needed(study: Study, job: Job) -> list[str]:
    """Returns the stages that a job (a stage or an arm) needs, directly or through other stages. Each stage is listed
    once, after the stages that it needs."""
    stages: list[str] = []
    for name in stages_needed(job):
        stages += [*all_stages_needed(study, study.stages[name]), name]
    return list(dict.fromkeys(stages))


def measuring_stages(study: Study, evaluators: Iterable[HoldsModels]) -> list[str]:
    """Returns the stages that the evaluators need, directly or through other stages. Each stage is listed once."""
    own = [stage for evaluator in evaluators for stage in name_stages(saved_models(evaluator))]
    return list(dict.fromkeys(stage for name in own for stage in (*all_stages_needed(study, study.stages[name]), name)))


def reads_same_data(one: TestbedSpec | None, other: TestbedSpec) -> bool:
    """Returns True if two testbeds have the same kind and read the same data source. The parts of the source that the
    testbeds use can differ."""
    return one is not None and type(one) is type(other) and dict(one).get("data") == dict(other).get("data")
