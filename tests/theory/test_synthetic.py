"""The synthetic scenario: its data, its training for all seeds at once, and optima that are known by other means."""

from __future__ import annotations

from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from preflab.losses.preference import dpo_loss
from preflab.theory.synthetic import objectives
from preflab.theory.synthetic.conclude import read_claim
from preflab.theory.synthetic.experiment import EXACT, Setting, prepare, train
from preflab.theory.synthetic.measures import Numbers, best_mass, largest_rise, leak, uncovered_mass
from preflab.theory.synthetic.networks import Networks, fit_all, make_policies, make_rewards
from preflab.theory.synthetic.objectives import Known, best_of_n_probabilities, exact_optimum, trained_methods
from preflab.theory.synthetic.scenario import PAIRS_PER_PROMPT, PROMPTS, RESPONSES, ComparedPairs, draw_scenario

METHODS = sorted(trained_methods(0.1))


def one_row(*probabilities: float) -> Tensor:
    """log pi of one prompt: [1,K]."""
    return torch.tensor([probabilities], dtype=torch.float64).log()


def select_seeds(known: Known, seeds: slice | int) -> Known:
    """The part of `known` that belongs to some seeds, or to one."""
    pairs = ComparedPairs(*(part[seeds] for part in known.pairs))
    return Known(pairs, known.reference[seeds], known.reward[seeds])


@pytest.mark.parametrize("coverage", [0.25, 0.5, 1.0])
def test_pairs_hold_exactly_the_covered_responses(coverage: float) -> None:
    """Protects partial coverage: the responses in pairs are exactly the covered ones, k for each prompt; the best one is among
    them and always preferred."""
    scenario = draw_scenario(coverage, seeds=3, seed=4)
    in_pairs = torch.zeros_like(scenario.covered)
    pairs = scenario.pairs
    for seed in range(3):
        for side in (pairs.better, pairs.worse):
            in_pairs[seed, pairs.prompt[seed], side[seed]] = True
    assert torch.equal(in_pairs, scenario.covered)
    assert (scenario.covered.sum(-1) == coverage * RESPONSES).all()
    assert pairs.prompt.shape == (3, PROMPTS * PAIRS_PER_PROMPT)
    assert (pairs.worse != pairs.prompt).all() and scenario.covered.diagonal(dim1=1, dim2=2).all()


def test_labels_never_contradict_each_other() -> None:
    """Protects the labels: at every coverage one seed's pairs follow one ranking, in which no response is above itself."""
    for seed in range(3):
        above = torch.zeros(PROMPTS, RESPONSES, RESPONSES)
        for coverage in (0.25, 0.5, 0.75, 1.0):
            pairs = draw_scenario(coverage, seeds=seed + 1, seed=0).pairs
            above[pairs.prompt[seed], pairs.better[seed], pairs.worse[seed]] = 1.0
        reached = torch.linalg.matrix_power(above + torch.eye(RESPONSES), RESPONSES) - torch.eye(RESPONSES)
        assert not (reached * reached.transpose(1, 2)).any()


def test_covered_sets_are_nested() -> None:
    """Protects the sweep's contrasts: more coverage adds responses and takes none away."""
    few, half, all_of_them = (draw_scenario(share, seeds=4, seed=1).covered for share in (0.25, 0.5, 1.0))
    assert not (few & ~half).any() and all_of_them.all()


@pytest.mark.parametrize("method", METHODS)
def test_seeds_learn_together_as_they_learn_alone(method: str) -> None:
    """Protects the stacking: three seeds at once end where each seed ends by itself, so no seed uses the data of another."""
    prepared = prepare(Setting(seeds=3, seed=2, steps=40), [40])
    objective = trained_methods(0.3)[method]
    together = fit_all(prepared.policies, objective, prepared.known, steps=40, checkpoints=[40]).tables[40]
    for seed in range(3):
        rows = slice(seed, seed + 1)
        alone = Networks(
            prepared.policies.shape, {name: value[rows] for name, value in prepared.policies.parameters.items()}
        )
        known = select_seeds(prepared.known, rows)
        end = fit_all(alone, objective, known, steps=40, checkpoints=[40]).tables[40]
        torch.testing.assert_close(end[0], together[seed], rtol=0, atol=2e-4)


def test_one_seed_learns_as_in_a_plain_loop() -> None:
    """Protects training itself: a hand-written torch loop over the module, without vmap or functional calls."""
    prepared = prepare(Setting(seeds=2, seed=0, steps=30), [30])
    known = select_seeds(prepared.known, 0)
    objective = trained_methods(0.3)["DPO"]
    stacked = fit_all(prepared.policies, objective, prepared.known, steps=30, checkpoints=[30]).tables[30][0]
    module = prepared.policies.shape
    assert isinstance(module, nn.Sequential)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(prepared.policies.parameters[name][0])
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    for _ in range(30):
        table = module(torch.eye(PROMPTS))
        optimizer.zero_grad()
        objective(table, table.detach(), known).backward()
        optimizer.step()
    torch.testing.assert_close(module(torch.eye(PROMPTS)), stacked, rtol=0, atol=2e-4)


def test_before_training_every_policy_is_the_reference() -> None:
    """Protects the common start: 0 steps leave pi_ref, and with a reward of 0 the exact optimum is pi_ref too."""
    prepared = prepare(Setting(seeds=2, steps=1), [0])
    policies = train(prepared, trained_methods(0.1), beta=0.1, steps=0, checkpoints=[0])
    assert set(policies) == {EXACT, *METHODS}
    for tables in policies.values():
        torch.testing.assert_close(tables[0], prepared.known.reference)


def test_policies_stay_distributions() -> None:
    """Protects the measure: every row of every method sums to one."""
    prepared = prepare(Setting(seeds=2, steps=25), [25])
    for tables in train(prepared, trained_methods(0.1), beta=0.1, steps=25, checkpoints=[25]).values():
        torch.testing.assert_close(tables[25].exp().sum(-1), torch.ones(2, PROMPTS))


def test_nothing_leaks_where_all_is_covered() -> None:
    """Protects the definition: with full coverage there is no uncovered mass to move."""
    prepared = prepare(Setting(seeds=2, steps=25, coverage=1.0), [25])
    assert prepared.scenario.covered.all()
    policy = exact_optimum(prepared.known.reference, prepared.known.reward, beta=0.1)
    assert not leak(policy, prepared.known.reference, prepared.scenario.covered).any()
    assert not largest_rise(policy, prepared.known.reference, prepared.scenario.covered).any()


def test_exact_optimum_is_the_best_of_a_grid() -> None:
    """Protects the optimum: on a grid of 1/60 over three responses no policy has more E[r] - beta KL, and the best
    point of the grid lies beside the optimum. pi_ref = (.2, .3, .5), r = (1, 0, -.5), beta = .7."""
    reference, reward, beta = one_row(0.2, 0.3, 0.5), torch.tensor([[1.0, 0.0, -0.5]], dtype=torch.float64), 0.7
    optimum = exact_optimum(reference, reward, beta=beta)
    grid = [(a / 60, b / 60, (60 - a - b) / 60) for a in range(1, 59) for b in range(1, 60 - a)]
    policies = torch.tensor(grid, dtype=torch.float64)

    def value(policy: Tensor) -> Tensor:
        return (policy * (reward - beta * (policy.log() - reference))).sum(-1)

    best = policies[value(policies).argmax()]
    assert float(value(optimum.exp())) >= float(value(policies).max())
    assert float((best - optimum.exp()).abs().max()) <= 1 / 60


@pytest.mark.parametrize("beta", [1.0, 3.0])
def test_ppo_reaches_its_optimum(beta: float) -> None:
    """Protects the algorithm's sign and its KL: clip and normalised advantages change the path, not the end. At these
    betas 500 steps go nine tenths of the way to it."""
    prepared = prepare(Setting(seeds=2, steps=500), [500])
    policies = train(
        prepared, {"PPO": partial(objectives.ppo_objective, beta=beta)}, beta=beta, steps=500, checkpoints=[500]
    )
    ppo, exact, start = policies["PPO"][500].exp(), policies[EXACT][500].exp(), prepared.known.reference.exp()
    assert float((ppo - exact).abs().max()) < 0.1 * float((exact - start).abs().max())


def test_grpo_rests_where_its_gradient_is_zero() -> None:
    """Protects GRPO's penalty: d/d log pi of E_old[A ratio - beta k3] is pi A - beta (pi - pi_ref), zero at the end."""
    beta = 5.0
    prepared = prepare(Setting(seeds=2, steps=500), [500])
    objective = partial(objectives.grpo_objective, beta=beta)
    end = fit_all(prepared.policies, objective, prepared.known, steps=500, checkpoints=[500]).tables[500]
    policy, reward = end.exp(), prepared.known.reward
    centred = reward - (policy * reward).sum(-1, keepdim=True)
    standardised = centred / (policy * centred.square()).sum(-1, keepdim=True).sqrt()
    force = policy * standardised - beta * (policy - prepared.known.reference.exp())
    assert float((policy - prepared.known.reference.exp()).abs().max()) > 0.03
    assert float(force.abs().max()) < 0.02


def test_dpo_leaks_where_the_chosen_response_is_unlikely_and_a_wrong_sign_does_not() -> None:
    """Protects the measure's direction. A table, one pair, pi_ref = (.01 chosen, .89 rejected, .10 uncovered): DPO adds to
    one logit what it takes from the other. The mass that the rejected response loses goes mostly to the uncovered one, which
    is ten times as likely as the chosen one. With the pair reversed the uncovered mass must fall."""
    logits = one_row(0.01, 0.89, 0.10)
    covered = torch.tensor([[[True, True, False]]])

    def trained(chosen: int, rejected: int) -> Tensor:
        parameter = logits.clone().requires_grad_()
        pair = ComparedPairs(torch.tensor([0]), torch.tensor([chosen]), torch.tensor([rejected]))
        objective = partial(objectives.preference_objective, loss=dpo_loss, beta=0.1)
        optimizer = torch.optim.SGD([parameter], lr=10.0)
        for _ in range(5):
            table = parameter.log_softmax(-1)
            optimizer.zero_grad()
            objective(table, table.detach(), Known(pair, logits, torch.zeros_like(logits))).backward()
            optimizer.step()
        return parameter.detach().log_softmax(-1)[None]

    assert leak(trained(0, 1), logits[None], covered)[0] > 0.2
    assert leak(trained(1, 0), logits[None], covered)[0] < -0.05


def test_the_explicit_penalty_is_zero_at_the_reference() -> None:
    """Protects DPO + KL: at pi_ref it equals DPO, log 2; away from pi_ref it is larger by exactly beta KL."""
    reference = one_row(0.25, 0.25, 0.5)
    pair = ComparedPairs(torch.tensor([0]), torch.tensor([0]), torch.tensor([1]))
    known, moved = Known(pair, reference, torch.zeros_like(reference)), one_row(0.5, 0.25, 0.25)
    penalised = partial(objectives.dpo_with_kl_objective, beta=0.3)
    plain = partial(objectives.preference_objective, loss=dpo_loss, beta=0.3)
    assert float(penalised(reference, reference, known)) == pytest.approx(0.6931471805599453)
    extra = 0.3 * (0.5 * torch.tensor(2.0).log() - 0.25 * torch.tensor(2.0).log())
    assert float(penalised(moved, moved, known) - plain(moved, moved, known)) == pytest.approx(float(extra))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_best_of_n_by_counting(n: int) -> None:
    """Protects RAFT's target: every n-tuple of draws of four responses, two of which tie."""
    policy, reward = torch.tensor([[0.1, 0.2, 0.3, 0.4]], dtype=torch.float64), torch.tensor([[2.0, 1.0, 2.0, 0.0]])
    expected = [0.0] * 4
    for draws in product(range(4), repeat=n):
        best = max(float(reward[0, y]) for y in draws)
        winners = [y for y in draws if float(reward[0, y]) == best]
        chance = float(torch.tensor([float(policy[0, y]) for y in draws], dtype=torch.float64).prod())
        for y in winners:
            expected[y] += chance / len(winners)
    assert best_of_n_probabilities(policy.log(), reward, n)[0].tolist() == pytest.approx(expected)


def test_measures_golden() -> None:
    """Two prompts, the second response of each uncovered. pi_ref (.5, .5), (.8, .2); pi (.3, .7), (.9, .1): uncovered mass
    (.5 + .2)/2 = .35 and (.7 + .1)/2 = .40, so the leak is +.05; the largest rise .7 - .5; the diagonal (.3 + .1)/2."""
    reference = torch.tensor([[[0.5, 0.5], [0.8, 0.2]]], dtype=torch.float64).log()
    policy = torch.tensor([[[0.3, 0.7], [0.9, 0.1]]], dtype=torch.float64).log()
    covered = torch.tensor([[[True, False], [True, False]]])
    assert uncovered_mass(reference, covered)[0] == pytest.approx(0.35)
    assert leak(policy, reference, covered)[0] == pytest.approx(0.05)
    assert largest_rise(policy, reference, covered)[0] == pytest.approx(0.2)
    assert best_mass(policy)[0] == pytest.approx(0.2)


def test_networks_are_drawn_by_their_seed_alone() -> None:
    """Protects repeatability: a seed's network is the same however many are drawn, and rewards start at 0."""
    few, many = make_policies(seeds=2, seed=5).table(), make_policies(seeds=4, seed=5).table()
    torch.testing.assert_close(few, many[:2])
    assert not torch.equal(many[0], many[1]) and not make_rewards(seeds=2, seed=5).table().any()


def seeds_around(mean: float) -> Numbers:
    """Four seeds whose 95% interval is the mean +- .005 or so."""
    return np.array([mean - 0.003, mean + 0.003, mean - 0.003, mean + 0.003])


@pytest.mark.parametrize(
    ("dpo", "ppo", "verdict"),
    [
        (0.2, -0.1, "holds"),
        (0.2, 0.2, "refuted"),  # PPO leaks as well
        (-0.1, -0.1, "refuted"),  # DPO does not leak
        (0.2, 0.01, "not decided"),  # PPO's interval spans the margin
    ],
)
def test_the_claim_needs_dpo_to_leak_and_ppo_not_to(dpo: float, ppo: float, verdict: str) -> None:
    """Protects the rule of the claim, read by the mass of all uncovered responses."""
    leaks = {"DPO": seeds_around(dpo), "PPO": seeds_around(ppo), EXACT: seeds_around(-0.1)}
    by_mass, _ = read_claim(leaks, leaks)
    assert by_mass.verdict == verdict
