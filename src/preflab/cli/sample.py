"""`preflab sample`: k answers to a prompt, or a chat."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from preflab.errors import UserError
from preflab.models.lm import LanguageModel
from preflab.models.load import load_directory, load_model
from preflab.models.spec import ModelSpec
from preflab.report.text import visible
from preflab.sampling import SAMPLERS
from preflab.sampling.base import Decoding, Sampler
from preflab.spec import Context, parse_spec
from preflab.types import Prompt, Turn


def sample(options: argparse.Namespace) -> None:
    """Prints `k` answers to `--prompt`, or answers line by line until the end of input."""
    if options.k < 1:
        raise UserError(f"-k must be at least 1, not {options.k}.")
    wanted = {"max_new_tokens": options.max_new_tokens, "temperature": options.temperature, "top_p": options.top_p}
    decoding = parse_spec(Decoding, wanted, where="preflab sample")
    path = Path(options.model)
    lm = load_directory(path) if path.is_dir() else load_model(ModelSpec(name=options.model), seed=options.seed)
    console = Console()
    with SAMPLERS.parse("native").open(Context()) as sampler:
        if options.prompt is not None:
            prompt = Prompt("prompt", (Turn("user", options.prompt),))
            for number, text in enumerate(answers(lm, sampler, prompt, decoding, options.k, options.seed), start=1):
                if options.k > 1:
                    console.rule(f"{number}")
                console.print(visible(text), markup=False, highlight=False)
            return
        chat(lm, sampler, decoding, options.seed, console)


def answers(
    lm: LanguageModel, sampler: Sampler, prompt: Prompt, decoding: Decoding, count: int, seed: int
) -> list[str]:
    ids = lm.encode_prompt(prompt)
    lm.check_fits(prompt, ids, 1)
    seeds = [seed * 1_000_003 + i for i in range(count)]
    drawn = sampler.sample(lm, [ids] * count, seeds=seeds, decoding=decoding)
    return [completion.text for completion in lm.completions(drawn.batch)]


def chat(lm: LanguageModel, sampler: Sampler, decoding: Decoding, seed: int, console: Console) -> None:
    """A dialogue on the terminal; an empty line or the end of input ends it."""
    turns: list[Turn] = []
    while True:
        try:
            said = input("you: ").strip()
        except EOFError:
            return
        if not said:
            return
        turns.append(Turn("user", said))
        prompt = Prompt("chat", tuple(turns))
        (text,) = answers(lm, sampler, prompt, decoding, 1, seed + len(turns))
        turns.append(Turn("assistant", text))
        console.print(f"model: {visible(text)}", markup=False, highlight=False)
