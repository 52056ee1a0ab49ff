"""The records of what a study measured and decided: the only result types, kept in `results.json`, read by every report."""

from __future__ import annotations

from preflab.analysis.record.arm import (
    ArmResult,
    CurvePoint,
    DecodingChoice,
    FrontierPoint,
    MeasuredValue,
    RunResult,
    SettingDifference,
    Spent,
)
from preflab.analysis.record.base import ENOUGH_SEEDS, Interval, Number, Record
from preflab.analysis.record.declared import (
    Claim,
    ClaimOutcome,
    ClaimRule,
    DecidedClaim,
    PaperTable,
    Sweep,
    TuningTrial,
    check_arms,
)
from preflab.analysis.record.results import (
    Answer,
    Comparison,
    ComparisonVerdict,
    EvaluatorResult,
    Results,
    Sample,
    SharedBudget,
    StudyVerdict,
    Subject,
    Timing,
    TuningResult,
    dump_results,
    read_results,
)
from preflab.analysis.record.reward_model import MarginBin, ReliabilityBin, RewardModelResult
from preflab.evaluation.measure import Measure, known_measure

__all__ = [
    "ENOUGH_SEEDS",
    "Answer",
    "ArmResult",
    "Claim",
    "ClaimOutcome",
    "ClaimRule",
    "Comparison",
    "ComparisonVerdict",
    "CurvePoint",
    "DecidedClaim",
    "DecodingChoice",
    "EvaluatorResult",
    "FrontierPoint",
    "Interval",
    "MarginBin",
    "Measure",
    "MeasuredValue",
    "Number",
    "PaperTable",
    "Record",
    "ReliabilityBin",
    "Results",
    "RewardModelResult",
    "RunResult",
    "Sample",
    "SettingDifference",
    "SharedBudget",
    "Spent",
    "StudyVerdict",
    "Subject",
    "Sweep",
    "Timing",
    "TuningResult",
    "TuningTrial",
    "check_arms",
    "dump_results",
    "known_measure",
    "read_results",
]
