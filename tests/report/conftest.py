"""A study that could have been: seven arms, three seeds, plausible numbers drawn from a fixed seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from statistics import fmean, stdev
from typing import Any

import pytest

from preflab.analysis import record as r
from preflab.report.page import render_html

LEVELS = ("introductory", "interview", "competition")
# name: (method, description, pass@1, pass@5, KL, labels, reward calls, FLOP, steps)
ARMS = {
    "sft": ("sft", "The starting point of every other arm.", 0.381, 0.68, 0.0, 0, 0, 1.9e14, 380),
    "sft-more": ("sft", "The same demonstrations for longer.", 0.389, 0.66, 0.9, 0, 0, 3.8e14, 760),
    "dpo": ("dpo", "Pairs sampled from SFT, once.", 0.441, 0.69, 3.4, 8192, 0, 4.1e14, 240),
    "dpo-iter": ("dpo-iter", "Four rounds of sampling, testing and DPO.", 0.503, 0.71, 2.6, 0, 16384, 6.2e14, 320),
    "ppo": ("ppo", "Reward 10 when all tests pass.", 0.628, 0.74, 1.7, 0, 16384, 1.4e15, 64),
    "ppo-rm": ("ppo", "PPO on the reward model learnt from DPO's pairs.", 0.472, 0.67, 4.8, 8192, 0, 1.5e15, 64),
    "best-of-4": ("best-of-n", "Four samples of SFT, picked by public tests.", 0.566, 0.70, 0.64, 0, 0, 1.9e14, 0),
}
METRICS = (
    r.known_measure("pass@1"),
    r.known_measure("pass@5", note="unbiased, from 10 samples a problem"),
    r.known_measure("reward"),
    r.known_measure("kl", note="nats per response; full-vocabulary sums along samples"),
    r.known_measure("length"),
    r.known_measure("entropy"),
    r.known_measure("distinct-2"),
    r.known_measure("truncated"),
)
DIFFERENCES = {
    "sft": [("learning_rate", 1e-5, 3e-3), ("epochs", 3, 9)],
    "sft-more": [("learning_rate", 1e-5, 3e-3), ("epochs", 3, 18)],
    "dpo": [("learning_rate", 1e-6, 2e-4), ("beta", 0.1, 0.3), ("epochs", 2, 1)],
    "dpo-iter": [("learning_rate", 1e-6, 2e-4), ("pairing", "best-worst", "right-wrong")],
    "ppo": [("learning_rate", 1e-5, 1e-3), ("critic.learning_rate", 5e-6, 2e-3), ("rollouts", 512, 256)],
    "ppo-rm": [("learning_rate", 1e-5, 5e-4), ("kl.coefficient", 0.1, 0.2), ("reward", None, {"kind": "learned"})],
    "best-of-4": [("n", 16, 4)],
}
PROGRAM = "map add 3 | filter even | sort | take 4"


def interval(values: list[float], quantile: float = 4.3) -> r.Interval:
    """A t interval over seeds, as the study's statistics would give."""
    centre, half = fmean(values), quantile * stdev(values) / len(values) ** 0.5
    return r.Interval(estimate=centre, low=centre - half, high=centre + half, df=2.0, seeds=len(values))


def seed_metrics(draw: random.Random, name: str, *, unit: bool) -> dict[str, float]:
    _, _, one, five, kl, *_ = ARMS[name]
    one = one + draw.gauss(0, 0.008) - (0.035 if unit else 0)
    return {
        "pass@1": one,
        "pass@5": five + draw.gauss(0, 0.008) + (0.02 if unit else 0),
        "reward": 10 * one,
        "kl": max(0.0, kl + draw.gauss(0, 0.06)),
        "length": 14 + 3 * kl / 4 + draw.gauss(0, 0.3),
        "entropy": (0.9 if unit else 0.5) - kl / 12 + draw.gauss(0, 0.01),
        "distinct-2": 0.42 - kl / 40 + draw.gauss(0, 0.004),
        "truncated": abs(draw.gauss(0.004, 0.003)),
    }


def curve(draw: random.Random, name: str) -> tuple[r.CurvePoint, ...]:
    _, _, end, _, kl, labels, calls, flops, steps = ARMS[name]
    points: list[r.CurvePoint] = []
    for tenth in range(11 if steps and name != "sft" else 0):
        done = tenth / 10
        grown = 1 - (1 - done) ** 2
        metrics = {
            "validation": 0.381 + (end - 0.381) * grown + draw.gauss(0, 0.008),
            "kl": kl * grown + abs(draw.gauss(0, 0.05)),
        }
        if name.startswith("ppo"):
            metrics["reward"] = 3.8 + 3.1 * grown + draw.gauss(0, 0.15)
        spent = 1.9e14 + (flops - 1.9e14) * done
        points.append(
            r.CurvePoint(step=round(steps * done), labels=(labels + calls) * done, flops=spent, metrics=dict(metrics))
        )
    return tuple(points)


def frontier(name: str, points: tuple[r.CurvePoint, ...], metrics: dict[str, float]) -> tuple[r.FrontierPoint, ...]:
    if name == "best-of-4":
        return (r.FrontierPoint(step=0, kl=metrics["kl"], score=metrics["pass@1"], bound=True),)
    return tuple(
        r.FrontierPoint(step=point.step, kl=point.metrics["kl"], score=point.metrics["validation"])
        for point in points[::2]
    )


def run(draw: random.Random, name: str, seed: int) -> r.RunResult:
    _, _, _, _, _, labels, calls, flops, steps = ARMS[name]
    metrics, points = seed_metrics(draw, name, unit=False), curve(draw, name)
    diverged = name == "ppo-rm" and seed == 3
    return r.RunResult(
        seed=seed,
        directory=f"arms/{name}/seed-{seed}",
        metrics=dict(metrics),
        metrics_unit=dict(seed_metrics(draw, name, unit=True)),
        spent=r.Spent(
            labels=labels, reward_calls=calls, flops=flops, sampled_tokens=9e5, trained_tokens=2.1e6, updates=steps
        ),
        temperature=draw.choice((0.2, 0.2, 0.6)),
        checkpoint=steps,
        diverged=diverged,
        note="KL exceeded 50 at step 41; the checkpoint before it is evaluated" if diverged else "",
        curve=points,
        frontier=frontier(name, points, metrics),
    )


def measures(runs: tuple[r.RunResult, ...]) -> tuple[r.MeasuredValue, ...]:
    records: list[r.MeasuredValue] = []
    for metric in METRICS:
        for decoding in ("chosen", "unit"):
            source = [one.metrics if decoding == "chosen" else one.metrics_unit for one in runs]
            values = [values[metric.name] or 0.0 for values in source]
            records.append(r.MeasuredValue(metric=metric.name, value=interval(values), decoding=decoding))
            for order, level in enumerate(LEVELS if metric.name == "pass@1" else ()):
                hard = [value * (1.35, 0.95, 0.5)[order] for value in values]
                records.append(
                    r.MeasuredValue(metric=metric.name, value=interval(hard), level=level, decoding=decoding)
                )
    return tuple(records)


def arm(name: str, seeds: tuple[int, ...]) -> r.ArmResult:
    draw = random.Random(f"{name} arm")
    runs = tuple(run(draw, name, seed) for seed in seeds)
    return r.ArmResult(
        name=name,
        method=ARMS[name][0],
        description=ARMS[name][1],
        baseline=name == "sft",
        inference_cost=4.0 if name == "best-of-4" else 1.0,
        differences=tuple(r.SettingDifference(field=f, default=d, value=v) for f, d, v in DIFFERENCES[name]),
        measures=measures(runs),
        runs=runs,
    )


def comparisons(arms: tuple[r.ArmResult, ...]) -> tuple[r.Comparison, ...]:
    pairs = [("ppo", "dpo-iter"), ("ppo", "dpo"), ("ppo", "best-of-4"), ("ppo", "sft-more"), ("dpo-iter", "dpo")]
    pairs += [("ppo-rm", "dpo")]
    by_name = {one.name: one for one in arms}
    records: list[r.Comparison] = []
    for a, b in pairs:
        gap = [
            (x.metrics["pass@1"] or 0) - (y.metrics["pass@1"] or 0)
            for x, y in zip(by_name[a].runs, by_name[b].runs, strict=True)
        ]
        difference = interval(gap, 6.2)
        decided = difference.low is not None and difference.low > 0
        records.append(
            r.Comparison(
                **dict(difference),
                first=a,
                second=b,
                metric="pass@1",
                p_value=0.012 if decided else 0.31,
                verdict="better" if decided else "not decided",
            )
        )
    return tuple(records)


def claim(
    part: str,
    weights: dict[str, float],
    value: r.Interval,
    outcome: r.ClaimOutcome = "confirmed",
    *,
    diverged: int = 0,
    reason: str = "",
    **changes: Any,
) -> r.DecidedClaim:
    claimed = r.Claim(id="C6", part=part, text=f"{part.capitalize()} improves PPO.", contrast=weights, margin=0.03)
    seeds = 0 if outcome == "not measured" else 3
    return r.DecidedClaim(
        claim=claimed.model_copy(update=changes),
        outcome=outcome,
        value=value.model_copy(update={"seeds": seeds, "diverged": diverged}),
        reason=reason,
    )


def claims() -> tuple[r.DecidedClaim, ...]:
    """One of each outcome."""
    values = [r.Interval(estimate=at, low=at - half, high=at + half) for at, half in ((0.06, 0.02), (0.0, 0.02))]
    wide = r.Interval(estimate=0.02, low=-0.05, high=0.09)
    return (
        claim("tests", {"ppo": 1, "ppo-rm": -1}, values[0], paper="APPS introductory 18.0 to 38.1"),
        claim("more SFT", {"sft-more": 1, "sft": -1}, values[1], "refuted"),
        claim("iteration", {"dpo-iter": 1, "dpo": -1, "ppo": -2, "sft": 2}, wide, "not decided", diverged=1),
        claim("a larger model", {"ppo-xl": 1, "ppo": -1}, r.Interval(), "not measured",
              reason="no finished run of ppo-xl", rule="not-superior"),
    )  # fmt: skip


PAPER = r.PaperTable(
    title="Table 3",
    columns=("row", "HH, evaluator's score", "APPS pass@5"),
    rows=(("SFT", ".532", "38.6/10.1/3.9"), ("baseline PPO", ".706", "")),
    note="Llama-2-7B on HH, CodeLlama-34B on code.",
)
SWEEP = r.Sweep(
    label="beta",
    x=(0.05, 0.1, 0.2),
    log=True,
    series={"PPO": ("ppo-rm", "ppo", "best-of-4"), "DPO": ("dpo", "dpo-iter", None)},
)


def reward_model() -> r.RewardModelResult:
    stated = (0.53, 0.62, 0.74, 0.88, 0.96)
    return r.RewardModelResult(
        name="rm",
        measured_on="the test split's pairs",
        seeds=3,
        pairs=200,
        accuracy=r.Interval(estimate=0.71, low=0.643, high=0.769),
        loss=0.573,
        calibration_error=0.048,
        reliability=tuple(
            r.ReliabilityBin(stated=p, right=0.5 + 0.8 * (p - 0.5), count=count)
            for p, count in zip(stated, (210, 160, 120, 70, 40), strict=True)
        ),
        by_margin=tuple(
            r.MarginBin(low=0.5 * step, high=0.5 * (step + 1), accuracy=0.55 + 0.09 * step, count=120)
            for step in range(5)
        ),
    )


def trials() -> tuple[r.TuningTrial, ...]:
    draw = random.Random(7)
    records: list[r.TuningTrial] = []
    for name, best in (("dpo", 2), ("ppo", 1)):
        for order, rate in enumerate((5e-5, 2e-4, 6e-4, 1e-3)):
            score = None if (name, order) == ("ppo", 3) else 0.4 + 0.05 * (order == best) + draw.gauss(0, 0.02)
            settings = {"learning_rate": rate, "kl.coefficient" if name == "ppo" else "beta": 0.1}
            records.append(r.TuningTrial(arm=name, settings=settings, seed=101, score=score, chosen=order == best))
    return tuple(records)


def samples(arms: tuple[r.ArmResult, ...]) -> tuple[r.Sample, ...]:
    draw = random.Random(11)
    records: list[r.Sample] = []
    for order, level in enumerate(LEVELS):
        answers: list[r.Answer] = []
        for one in arms:
            right = draw.random() < 0.5
            answers.append(
                r.Answer(
                    arm=one.name,
                    text=PROGRAM if right else PROGRAM.replace("sort", draw.choice(("reverse", "unique"))),
                    score=10.0 if right else 0.0,
                    outcome="passed" if right else "wrong answer",
                    passed=(True, True, right, True, right),
                    detail="" if right else "input [5, 1, 2, 9]\nexpected [4, 8, 12]\ngot [12, 8, 4]",
                )
            )
        prompt = f"Add {order + 3} to every number, keep the even ones, sort, take the first four.\n[5, 1] -> [4, 8]"
        records.append(
            r.Sample(problem=f"test-{order:04d}", level=level, prompt=prompt, seed=1, answers=tuple(answers))
        )
    return tuple(records)


def build(seeds: int = 3) -> r.Results:
    numbers = tuple(range(1, seeds + 1))
    arms = tuple(arm(name, numbers) for name in ARMS)
    return r.Results(
        study="quickstart",
        question="Which method makes a small model write more correct programs, given 16,384 tests of an answer?",
        model=r.Subject(name="tiny", description="A Llama-like model of 343 thousand parameters."),
        testbed=r.Subject(
            name="minicode",
            description="Programs over lists of integers, judged by hidden tests on problems that no arm has seen.",
            notices=("37% of the demonstrations are wrong on purpose",),
        ),
        evaluators=(r.EvaluatorResult(name="hidden tests", description="400 unseen problems, 10 samples each."),),
        budget=r.SharedBudget(
            binding="labels", amount=16384, note="A label is one preference or one call of the reward."
        ),
        seeds=numbers,
        metrics=METRICS,
        headline="pass@1",
        levels=LEVELS,
        arms=arms,
        comparisons=comparisons(arms),
        claims=claims(),
        paper=PAPER,
        sweep=SWEEP,
        reward_models=(reward_model(),),
        verdict=r.StudyVerdict(
            sentence="ppo won: pass@1 62.8%, 6.2 points above best-of-4, the next best (95% interval 3.2 to 9.1).",
            winner="ppo",
            preliminary=seeds < 5,
            holds_under_other_budget="no",
            other_budget="PPO used 2.3 times the compute of DPO-Iter; at equal compute the two are not decided.",
            method="Paired over seeds and problems; simultaneous t intervals with Satterthwaite degrees of freedom.",
        ),
        tuning=r.TuningResult(note="Four trials an arm, chosen on validation.", metric="pass@1", trials=trials()),
        samples=samples(arms),
        caveats=(
            "Three seeds bound the spread between seeds poorly: read the order as preliminary.",
            "The model is tiny and the language small; an order found here need not hold for a large model.",
            "One run of ppo-rm diverged and counts as it is.",
        ),
        versions={"preflab": "0.1.0", "torch": "2.13.0", "python": "3.11.2", "revision": "4f2a91c"},
        command="preflab study quickstart --seeds 3 --output runs/quickstart",
        timing=tuple(
            r.Timing(arm=name, seed=seed, wall_seconds=20 + ARMS[name][7] / 8e12, peak_memory=7.1e8)
            for name in ARMS
            for seed in numbers
        ),
    )


@pytest.fixture(scope="session")
def results() -> r.Results:
    """The example study with three seeds."""
    return build()


@pytest.fixture(scope="session")
def make_results() -> Callable[[int], r.Results]:
    """The example study with as many seeds as asked."""
    return build


@pytest.fixture(scope="session")
def page(results: r.Results) -> str:
    """The example study's page."""
    return render_html(results)
