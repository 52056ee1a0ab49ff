"""Every comparison with TRL by name, the recordings, and the largest difference between the two."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.parity import comparisons as of
from tests.parity import rollouts
from tests.parity.comparisons import Case, Comparison, OutputPairs

from preflab.losses import preference

GOLDENS = Path(__file__).resolve().parent / "goldens"
TOLERANCE = 1e-5
SMOOTHED = {"beta": "beta", "noise": "label_smoothing"}

COMPARISONS = (
    Comparison("DPO", ("dpo/sigmoid",), "losses.preference.dpo_loss", of.pair(preference.dpo_loss, beta="beta")),
    Comparison(
        "hinge (SLiC)", ("dpo/hinge",), "losses.preference.hinge_loss", of.pair(preference.hinge_loss, beta="beta")
    ),
    Comparison(
        "IPO",
        ("dpo/ipo",),
        "losses.preference.ipo_loss",
        of.ipo_of_means,
        "TRL's DPOTrainer divides each log-ratio by the length of its answer. preflab keeps the sums of eq. 17, as "
        "OnlineDPOTrainer does. The two are compared on means. Do not use the same beta in both: TRL's target 1/(2 "
        "beta) is a margin for each token.",
    ),
    Comparison(
        "robust (rDPO)", ("dpo/robust",), "losses.preference.robust_loss", of.pair(preference.robust_loss, **SMOOTHED)
    ),
    Comparison(
        "conservative (cDPO)",
        ("dpo/aot", "cpo/label_smoothing"),
        "losses.preference.conservative_loss",
        of.pair(preference.conservative_loss, **SMOOTHED),
        "TRL's `sigmoid` no longer reads `label_smoothing`. TRL has the same function in AOT (for one pair, where "
        "AOT's sorting changes nothing) and in CPO (without a reference). Both are compared.",
    ),
    Comparison(
        "SFT term",
        ("dpo/sft",),
        "losses.policy.sft_loss",
        of.sft_term,
        "TRL takes the mean over the tokens of all chosen answers in the micro-batch. preflab takes the mean of each "
        "answer and then the mean over answers, so that the division into micro-batches does not change it. For one "
        "pair the two are the same, and one pair is compared.",
    ),
    Comparison(
        "DPO with the SFT term",
        ("dpo/sigmoid+sft",),
        "losses.preference.dpo_loss, losses.policy.sft_loss",
        of.sigmoid_and_sft,
    ),
    Comparison(
        "chi-squared PO",
        ("dpo/alpha_divergence",),
        "losses.preference.chi_po_loss",
        of.chi_po,
        "TRL does not have this loss. The loss applies rho + log rho to the ratio rho. TRL has both terms, as the "
        "divergences alpha = 2 and reverse KL. The first is compared with preflab's logit minus the second.",
    ),
    Comparison(
        "SimPO",
        ("cpo/simpo",),
        "losses.preference.simpo_loss",
        of.pair(preference.simpo_loss, beta="beta", gamma="simpo_gamma"),
        "`gamma` is TRL's `simpo_gamma`.",
    ),
    Comparison(
        "CPO",
        ("cpo/sigmoid",),
        "losses.preference.cpo_loss",
        of.cpo,
        "`nll` is TRL's `cpo_alpha`. The likelihood term over a batch differs in the same way as the SFT term.",
    ),
    Comparison(
        "ORPO",
        ("orpo",),
        "losses.preference.orpo_loss",
        of.orpo,
        "`lam` is TRL's `beta`. TRL's likelihood term also covers the prompt. preflab's covers only the answer, as in "
        "eq. 6. The preference term is compared.",
    ),
    Comparison(
        "KTO",
        ("kto", "kto/kl_clamped"),
        "losses.kto.kto_loss, losses.kto.kto_reference_point",
        of.kahneman_tversky,
        "TRL estimates the KL in each micro-batch. preflab estimates it over the whole batch, before the batch is "
        "divided.",
    ),
    Comparison("SFT", ("sft",), "losses.policy.sft_loss", of.sft),
    Comparison(
        "reward model, with and without margin",
        ("reward", "reward/margin"),
        "losses.reward.bradley_terry_loss",
        of.bradley_terry,
        "`shift` is TRL's `margin` with the opposite sign.",
    ),
    Comparison(
        "online DPO",
        ("online_dpo/sigmoid",),
        "losses.preference.dpo_loss",
        of.online(preference.dpo_loss),
        "If two answers are equal, TRL takes the first as chosen. preflab does not make a pair of them.",
    ),
    Comparison(
        "online DPO with IPO", ("online_dpo/ipo",), "losses.preference.ipo_loss", of.online(preference.ipo_loss)
    ),
    Comparison(
        "GRPO advantages",
        ("grpo/advantages_group", "grpo/advantages_none"),
        "ops.group_relative",
        rollouts.group_relative,
    ),
    Comparison(
        "GRPO loss",
        ("grpo/loss", "grpo/loss_kl"),
        "losses.policy.ppo_policy_loss, ops.kl_estimate, ops.average_weights",
        rollouts.group_loss,
        "`loss_average` is sequence. TRL 1.16 multiplies the KL term by the importance ratio unless "
        "`use_bias_correction_kl` is false. preflab has the published objective (Shao et al. 2024, eq. 3). The two "
        "are compared with the value false.",
    ),
    Comparison(
        "Dr. GRPO loss",
        ("grpo/dr_grpo",),
        "losses.policy.ppo_policy_loss, ops.average_weights",
        rollouts.group_loss,
        "`loss_average` is constant. TRL's `max_completion_length` is `decoding.max_new_tokens`.",
    ),
    Comparison(
        "DAPO loss, clip-higher",
        ("grpo/dapo_clip_higher",),
        "losses.policy.ppo_policy_loss, ops.average_weights",
        rollouts.group_loss,
        "`loss_average` is token. TRL counts tokens over the generated batch, preflab over the mini-batch.",
    ),
    Comparison("DAPO overlong penalty", ("grpo/overlong",), "ops.overlong", rollouts.overlong),
    Comparison(
        "RLOO advantages",
        ("rloo/advantages", "rloo/advantages_kl"),
        "ops.leave_one_out, ops.kl_estimate, ops.sequence_sum",
        rollouts.leave_one_out,
    ),
    Comparison(
        "RLOO loss",
        ("rloo/loss",),
        "losses.policy.ppo_policy_loss, ops.average_weights",
        rollouts.leave_one_out_loss,
        "TRL clips the ratio of whole answers, preflab the ratio of each token. On the policy's own answers nothing "
        "is clipped, and the gradients agree up to the constant by which preflab divides. These gradients are "
        "compared.",
    ),
    Comparison("KL estimators k1, k3", ("ppo/kl_k1", "ppo/kl_k3"), "ops.kl_estimate", rollouts.kl),
    Comparison(
        "PPO token rewards",
        ("ppo/rewards",),
        "ops.token_rewards",
        rollouts.token_rewards,
        "TRL puts the score one position *after* the last token, if there is room. preflab puts it on the last token "
        "(the end of turn). The two are compared with TRL's mask.",
    ),
    Comparison(
        "GAE",
        ("ppo/gae",),
        "ops.gae",
        rollouts.gae,
        "In TRL an episode has this one step more, and a truncated answer ends with value 0. In preflab an episode "
        "ends with its last token, and a truncated answer bootstraps from its last value. The two are compared with "
        "TRL's mask and without truncation.",
    ),
    Comparison(
        "advantage whitening",
        ("ppo/whiten",),
        "ops.whiten",
        rollouts.whiten,
        "TRL computes the variance with n - 1, preflab with n, over all ranks. The two are compared after "
        "multiplication by sqrt((n - 1) / n).",
    ),
    Comparison("PPO policy loss", ("ppo/policy_loss",), "losses.policy.ppo_policy_loss", rollouts.clipped_policy),
    Comparison(
        "PPO value loss",
        ("ppo/value_loss",),
        "losses.policy.ppo_value_loss",
        rollouts.clipped_value,
        "TRL's mean also counts the position after the last token. The two are compared with TRL's mask.",
    ),
)


def recorded(folder: Path = GOLDENS) -> dict[str, dict[str, Any]]:
    """The cases of all recordings in a folder by name, each with the TRL `version` that it is of."""
    cases: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("trl-*.json")):
        recording = json.loads(path.read_text(encoding="utf-8"))
        cases |= {case["name"]: case | {"version": recording["versions"]["trl"]} for case in recording["cases"]}
    return cases


def differences(pairs: OutputPairs) -> dict[str, float]:
    """The largest absolute difference under each name; an infinity or NaN on either side is one too."""
    result: dict[str, float] = {}
    for name, (ours, theirs) in pairs.items():
        assert ours.shape == theirs.shape and ours.numel(), f"{name}: {tuple(ours.shape)} against {tuple(theirs.shape)}"
        result[name] = (ours.detach() - theirs).abs().nan_to_num(nan=float("inf")).max().item()
    return result


def difference(comparison: Comparison, case: Case) -> dict[str, float]:
    return differences(comparison.of(case))
