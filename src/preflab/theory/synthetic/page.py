"""Runs the synthetic scenario in one setting, and makes a finding from the results."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from preflab.theory.finding import Finding, FindingFigure
from preflab.theory.problems import BETA_RANGE, require
from preflab.theory.synthetic import conclude, figures
from preflab.theory.synthetic.experiment import EXACT, SFT_STEPS, Prepared, Setting, prepare, train
from preflab.theory.synthetic.measures import Measured, best_mass, largest_rise, leak, uncovered_mass
from preflab.theory.synthetic.networks import HIDDEN, LEARNING_RATE, ROLLOUT_STEPS
from preflab.theory.synthetic.objectives import BEST_OF, trained_methods
from preflab.theory.synthetic.scenario import PAIRS_PER_PROMPT, PROMPTS, RESPONSES, covered_responses
from preflab.theory.synthetic.sweep import SweepPoint, run_sweep, run_variations

_REFERENCE = "pi_ref"


def run_scenario(setting: Setting, beta: float) -> Finding:
    """Trains and measures all methods, and returns the finding. Raises `UserError` if a number is out of its range."""
    _check_setting(setting, beta)
    prepared, policies = _train_all(setting, beta)
    measured = _measure(prepared, policies)
    points, variations = run_sweep(setting), run_variations(setting, beta)
    readings = conclude.read_claim(measured.leaks, measured.rises)
    return Finding(
        name="synthetic",
        title="The synthetic scenario (Section 4.2, Figure 1)",
        claim=conclude.SYNTHETIC_CLAIM,
        command=f"preflab theory synthetic --seeds {setting.seeds} --seed {setting.seed} --beta {beta:g} "
        f"--coverage {setting.coverage:g} --steps {setting.steps}",
        verdict=readings[0].verdict,
        sentence=conclude.state_verdict(readings, setting.seeds, points),
        tables=(
            conclude.tabulate_readings(readings),
            conclude.tabulate_methods(measured),
            conclude.tabulate_differences(measured),
            conclude.tabulate_sweep(points),
            conclude.tabulate_variations(variations),
        ),
        figures=(_draw_heat_maps(prepared, policies), _draw_forest(measured), *_draw_sweep(points)),
        notes=_notes(setting),
    )


def _check_setting(setting: Setting, beta: float) -> None:
    """Raises `UserError` if a number is out of its range."""
    least, most = 2 / RESPONSES, (RESPONSES - 1) / RESPONSES
    partly = least <= setting.coverage <= 1 and covered_responses(setting.coverage) < RESPONSES
    shares = f"a share from {least:g} (one pair) to {most:g}, because the claim is about responses in no pair."
    require(
        (setting.seeds >= 2, f"--seeds {setting.seeds}: give 2 or more, for an interval over seeds."),
        (0 <= setting.seed < 2**32, f"--seed {setting.seed}: give a whole number from 0 to 2^32 - 1."),
        (BETA_RANGE[0] <= beta <= BETA_RANGE[1], f"--beta {beta:g}: give {BETA_RANGE[0]:g} to {BETA_RANGE[1]:g}."),
        (partly, f"--coverage {setting.coverage:g}: give {shares}"),
        (setting.steps >= 1, f"--steps {setting.steps}: give a whole number, 1 or more."),
    )


def _train_all(setting: Setting, beta: float) -> tuple[Prepared, dict[str, Tensor]]:
    """Returns the data and networks that all methods start with, and log pi [S,X,Y] of every method after all steps."""
    prepared = prepare(setting, [setting.steps])
    methods = trained_methods(beta)
    trained = train(prepared, methods, beta=beta, steps=setting.steps, checkpoints=[setting.steps])
    return prepared, {name: trained[name][setting.steps] for name in ("DPO", "PPO", EXACT, *methods)}


def _measure(prepared: Prepared, policies: dict[str, Tensor]) -> Measured:
    reference, covered = prepared.known.reference, prepared.scenario.covered
    all_policies = {_REFERENCE: reference, **policies}
    return Measured(
        mass={name: uncovered_mass(policy, covered) for name, policy in all_policies.items()},
        leaks={name: leak(policy, reference, covered) for name, policy in policies.items()},
        rises={name: largest_rise(policy, reference, covered) for name, policy in policies.items()},
        best={name: best_mass(policy) for name, policy in all_policies.items()},
    )


def _draw_heat_maps(prepared: Prepared, policies: dict[str, Tensor]) -> FindingFigure:
    """Draws the heat maps of the first seed. Rewards are centred for each prompt, because a constant added to all
    rewards of a prompt does not change any policy."""
    scenario, reward = prepared.scenario, prepared.known.reward[0]
    prompt, better, worse = (each[0].numpy() for each in scenario.pairs)
    appearances = np.zeros((PROMPTS, RESPONSES))
    for responses in (better, worse):
        np.add.at(appearances, (prompt, responses), 1.0)
    centred = (reward - reward.mean(-1, keepdim=True)).numpy()
    maps = {_REFERENCE: prepared.known.reference, **{name: policies[name] for name in ("PPO", EXACT, "DPO")}}
    tables = {name: policy[0].exp().numpy() for name, policy in maps.items()}
    svg = figures.draw_heat_maps(scenario.covered[0].numpy(), appearances, centred, tables)
    return FindingFigure(
        file="synthetic-heat-maps.svg",
        title="Figure 1, computed",
        caption="The first seed. Rows are prompts and columns are responses; the best responses are on the diagonal. "
        "A coloured corner marks an uncovered response (in no pair). Rewards are centred for each prompt; "
        "zeros are left out.",
        alt="Six 8 by 8 heat maps: coverage, learned reward, pi_ref, PPO, the exact PPO optimum, DPO.",
        svg=svg,
    )


def _draw_forest(measured: Measured) -> FindingFigure:
    return FindingFigure(
        file="synthetic-leak.svg",
        title="Mass on uncovered responses, by method",
        caption="Change against pi_ref in percentage points. Small dots are seeds, the large dot is their mean, and "
        "the bar is its 95% interval. The grey band shows changes below the margin.",
        alt="Intervals of the change of uncovered mass and of the largest single rise, for each method.",
        svg=figures.draw_forest(measured.leaks, measured.rises, (conclude.LEAK_MARGIN, conclude.RISE_MARGIN)),
    )


def _draw_sweep(points: list[SweepPoint]) -> list[FindingFigure]:
    about = (
        "Percentage points against pi_ref; bands are 95% intervals over seeds. At a training length of n steps, the exact "
        "PPO optimum belongs to the reward model after n steps, and PPO has trained n steps on the final reward model."
    )
    alt = "against training length for DPO, PPO and the exact PPO optimum; a panel for each coverage and beta."
    mass, rise = "Change of the uncovered mass", "Largest rise of one uncovered response"
    leaks = figures.draw_panels(points, lambda point: point.leak, conclude.LEAK_MARGIN, mass, name="synthetic-sweep")
    rises = figures.draw_panels(points, lambda point: point.rise, conclude.RISE_MARGIN, rise, name="synthetic-rise")
    drawn = (
        ("synthetic-sweep.svg", "Where mass leaks", f"Leak {alt}", leaks),
        ("synthetic-rise.svg", "Where one response rises", f"Rise {alt}", rises),
    )
    return [FindingFigure(file=file, title=title, caption=about, alt=text, svg=svg) for file, title, text, svg in drawn]


def _notes(setting: Setting) -> tuple[str, ...]:
    """Lists the choices that the paper does not specify, and the simplifications of the methods."""
    covered = covered_responses(setting.coverage)
    return (
        f"{covered} of {RESPONSES} responses of each prompt are covered, including the best response. "
        f"The {PAIRS_PER_PROMPT} pairs of a prompt have no label noise: the better response is always chosen.",
        f"Policy and reward model: one hidden layer of {HIDDEN} ReLU units. pi_ref is a random policy, whose probabilities "
        "vary by about 4 percentage points around 1/8, as in the paper. Reward models start at 0, so that their optimum "
        "starts at pi_ref.",
        f"Every network: Adam, learning rate {LEARNING_RATE:g}, full batch, {setting.steps} steps. PPO, GRPO and RAFT set "
        f"pi_old to pi every {ROLLOUT_STEPS} steps. They compute expectations over pi_old exactly, as with infinitely "
        f"many rollouts, and need no critic. RAFT learns from the best of {BEST_OF} responses and has no KL term.",
        "GRPO's k3 penalty is a loss on samples, which pulls pi towards pi_ref by the forward KL, as in the GRPO "
        "paper.",
        f"The variation with SFT first trains pi_ref for {SFT_STEPS} steps on the chosen responses.",
        "Each interval is a 95% interval by itself. The intervals are not adjusted for multiple comparisons.",
    )
