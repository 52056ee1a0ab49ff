"""A stand-in for vLLM with the few calls that preflab makes. It keeps a list of these calls, which the environment
variable STUB_CALLS names, and draws answers that show the prompt, the seed and the weights that it loaded last."""

import json
import os
from types import SimpleNamespace

print("vLLM prints on the standard output")  # as the real one does: no reply may mix with it


def note(*call):
    with open(os.environ["STUB_CALLS"], "a") as calls:
        calls.write(json.dumps(call) + "\n")


class SamplingParams:
    def __init__(self, **settings):
        self.settings = settings


class LLM:
    def __init__(self, **settings):
        note("start", settings, os.environ.get("CUDA_VISIBLE_DEVICES", ""))
        if settings["seed"] == 13:
            raise ValueError("No available memory for the cache blocks.")
        self.model = settings["model"]

    def collective_rpc(self, name, kwargs):
        note(name, kwargs["weights_path"])
        self.model = kwargs["weights_path"]

    def reset_prefix_cache(self):
        note("reset_prefix_cache")
        return True

    def wake_up(self, tags):
        note("wake_up", tags)

    def sleep(self, level):
        note("sleep", level)

    def generate(self, prompts, params, use_tqdm):
        note("generate", len(prompts))
        if params[0].settings["max_tokens"] == 13:
            os._exit(3)
        with open(os.path.join(self.model, "mark")) as file:
            mark = int(file.read())
        rows = zip(prompts, params, strict=True)
        return [self.answer(prompt["prompt_token_ids"], each.settings, mark) for prompt, each in rows]

    def answer(self, ids, settings, mark):
        """Three tokens: the prompt's last id, the seed, the mark of the weights. Each is reported beside token 1, which
        is kept, and token 2, which is not."""
        drawn = [ids[-1], settings["seed"], mark]
        flat = SimpleNamespace(start_indices=[0, 3, 6], end_indices=[3, 6, 9], token_ids=[], logprobs=[])
        for place, token in enumerate(drawn):
            flat.token_ids += [token, 1, 2]
            flat.logprobs += [-0.5 - place, -0.25, float("-inf")]
        output = SimpleNamespace(token_ids=drawn, logprobs=flat)
        return SimpleNamespace(outputs=[output], num_cached_tokens=None)
