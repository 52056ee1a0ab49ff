"""How policies are measured: settings that a study shares between its arms."""

from __future__ import annotations

from preflab.spec import Spec


class Evaluation(Spec):
    """How policies are measured, the same for every arm. `look_*`: the looks at the validation split while training."""

    samples: int = 8
    k: tuple[int, ...] = (1, 5)
    temperatures: tuple[float, ...] = (0.2, 0.6, 1.0)
    validation_samples: int = 2
    max_new_tokens: int = 256
    prompts: int = 0
    shown: int = 12
    kl_samples: int = 512
    look_prompts: int = 100
    look_samples: int = 2
