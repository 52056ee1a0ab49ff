"""The methods: one file each, one name here. A method is a spec of vetted defaults and a function `train(spec, parts)`."""

from __future__ import annotations

from preflab.spec import Registry

METHODS = Registry(
    "method",
    "preflab.methods",
    {
        "sft": "preflab.methods.sft:SFT",
        "pairs": "preflab.methods.pairs:Pairs",
        "rm": "preflab.methods.rm:RM",
        "dpo": "preflab.methods.dpo:DPO",
        "dpo-iter": "preflab.methods.dpo_iter:DPOIter",
        "best-of-n": "preflab.methods.best_of_n:BestOfN",
        "ppo": "preflab.methods.ppo:PPO",
    },
)
