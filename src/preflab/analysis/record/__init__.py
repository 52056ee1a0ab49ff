"""The records of a study's measurements and decisions. `results.json` contains them, and every report reads them."""

# ruff: noqa: I001 - `name as name` exports a name from the package. Without this line, ruff would split each import
# statement into one statement for each name.

from __future__ import annotations

from preflab.analysis.record.arm import (
    ArmResult as ArmResult,
    Collapse as Collapse,
    CurvePoint as CurvePoint,
    FrontierPoint as FrontierPoint,
    MeasuredValue as MeasuredValue,
    RunResult as RunResult,
    SettingDifference as SettingDifference,
    Spent as Spent,
)
from preflab.analysis.record.base import (
    ENOUGH_SEEDS as ENOUGH_SEEDS,
    Interval as Interval,
    Number as Number,
    Record as Record,
)
from preflab.analysis.record.declared import (
    DEPENDS as DEPENDS,
    Claim as Claim,
    ClaimOutcome as ClaimOutcome,
    ClaimRule as ClaimRule,
    DecidedClaim as DecidedClaim,
    PaperTable as PaperTable,
    Sweep as Sweep,
    TuningTrial as TuningTrial,
    check_arms as check_arms,
    joint_outcome as joint_outcome,
)
from preflab.analysis.record.length import LengthControl as LengthControl
from preflab.analysis.record.results import (
    Answer as Answer,
    Comparison as Comparison,
    ComparisonVerdict as ComparisonVerdict,
    EvaluatorResult as EvaluatorResult,
    PairwiseResult as PairwiseResult,
    Results as Results,
    Sample as Sample,
    SharedBudget as SharedBudget,
    StudyVerdict as StudyVerdict,
    Subject as Subject,
    Timing as Timing,
    TuningResult as TuningResult,
    dump_results as dump_results,
    read_results as read_results,
)
from preflab.analysis.record.reward_model import (
    MarginBin as MarginBin,
    ReliabilityBin as ReliabilityBin,
    RewardModelResult as RewardModelResult,
)
from preflab.evaluation.measure import Measure as Measure, known_measure as known_measure
from preflab.evaluation.settings import DecodingChoice as DecodingChoice
