"""`preflab sample`: samples k answers to a prompt, or chats with the user."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from preflab.cli.command import CliCommand
from preflab.cli.options import add_json_option, print_json
from preflab.errors import UserError
from preflab.paths import user_path
from preflab.types import Prompt, Turn


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="NAME|DIR", help="smollm2, the directory of a model or of a finished run, or a hub name")
    add("--prompt", metavar="TEXT", help="a prompt (without one: a chat)")
    add("-k", metavar="N", type=int, default=1, help="number of answers to the prompt (default: 1)")
    add("--temperature", metavar="T", type=float, default=1.0, help="0 is greedy (default: 1)")
    add("--top-p", metavar="P", type=float, default=1.0, help="total probability of the tokens kept (default: 1)")
    add("--max-new-tokens", metavar="N", type=int, default=256, help="longest answer in tokens (default: 256)")
    add("--seed", metavar="N", type=int, default=0, help="the seed of the draws (default: 0)")
    add_json_option(parser)


def _run(options: argparse.Namespace) -> None:
    from functools import partial

    from preflab.arm.saved import find_saved_model
    from preflab.models.load import load_directory, load_model
    from preflab.models.spec import ModelSpec
    from preflab.sampling import SAMPLERS
    from preflab.sampling.base import Decoding
    from preflab.spec import Context, parse_spec
    from preflab.terminal import Terminal

    if options.json and options.prompt is None:
        raise UserError("--json prints the answers to one prompt. Give the prompt with --prompt.")
    if options.k < 1:
        raise UserError(f"-k must be at least 1, not {options.k}.")
    if options.seed < 0:
        raise UserError(f"--seed must be 0 or more, not {options.seed}.")
    settings = {"max_new_tokens": options.max_new_tokens, "temperature": options.temperature, "top_p": options.top_p}
    decoding = parse_spec(Decoding, settings, where="sample")
    path = user_path(options.model)
    if path.is_dir():
        lm = load_directory(find_saved_model(path))
    else:
        lm = load_model(ModelSpec(name=options.model), seed=options.seed)
    with SAMPLERS.parse("native").open(Context()) as sampler:
        draw = partial(sampler.answer, lm, decoding=decoding)
        if options.prompt is None:
            chat(lambda prompt, turn: draw(prompt, count=1, seed=options.seed + turn)[0])
        else:
            prompt = Prompt("prompt", (Turn("user", options.prompt),))
            if options.json:
                print_json(
                    {"prompt": options.prompt, "answers": list(draw(prompt, count=options.k, seed=options.seed))}
                )
                return
            for number, answer in enumerate(draw(prompt, count=options.k, seed=options.seed), start=1):
                if options.k > 1:
                    Terminal().rule(f"{number}")
                print_text(answer)


def chat(answer: Callable[[Prompt, int], str]) -> None:
    """Chats with the user on the terminal until the user enters an empty line or the input ends. `answer`: a function
    that takes the conversation and its number of turns, and returns the model's reply."""
    turns: list[Turn] = []
    while line := read_line():
        turns.append(Turn("user", line))
        reply = answer(Prompt("chat", tuple(turns)), len(turns))
        turns.append(Turn("assistant", reply))
        print_text(f"model: {reply}")


def read_line() -> str:
    """Returns the line that the user types; '' at the end of the input."""
    try:
        return input("you: ").strip()
    except EOFError:
        return ""


def print_text(text: str) -> None:
    """Prints a text. Replaces control characters by visible characters, so that they have no effect on the terminal."""
    from preflab.terminal import Terminal
    from preflab.text import visible

    Terminal().print(visible(text), markup=False, highlight=False)


SAMPLE_COMMAND = CliCommand("sample", "chat with a model, or sample k answers to a prompt", _add_options, _run)
