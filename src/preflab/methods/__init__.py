"""The registry of methods by name. A method is a spec class. Its fields are the settings, and its function `train` runs
the method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from preflab.spec import Registry

if TYPE_CHECKING:
    from preflab.methods.spec import Method

METHODS: Registry[Method] = Registry(
    "method",
    "preflab.methods",
    {
        "sft": "preflab.methods.sft:SFT",
        "pairs": "preflab.methods.pairs:Pairs",
        "rankings": "preflab.methods.rankings:Rankings",
        "rm": "preflab.methods.rm:RM",
        "cost": "preflab.methods.cost_model:CostModel",
        "warm": "preflab.methods.warm:Warm",
        "dpo": "preflab.methods.dpo:DPO",
        "dpo-iter": "preflab.methods.dpo_iter:DPOIter",
        "online-dpo": "preflab.methods.online_dpo:OnlineDPO",
        "kto": "preflab.methods.kto:KTO",
        "rrhf": "preflab.methods.rrhf:RRHF",
        "pro": "preflab.methods.pro:PRO",
        "best-of-n": "preflab.methods.best_of_n:BestOfN",
        "ppo": "preflab.methods.ppo:PPO",
        "ppo-lag": "preflab.methods.ppo_lag:PPOLag",
        "grpo": "preflab.methods.grpo:GRPO",
        "rloo": "preflab.methods.rloo:RLOO",
        "reinforce++": "preflab.methods.reinforce_pp:ReinforcePP",
        "remax": "preflab.methods.remax:ReMax",
        "raft": "preflab.methods.raft:RAFT",
        "expert-iteration": "preflab.methods.expert_iteration:ExpertIteration",
    },
    "preflab.methods.spec:Method",
)
