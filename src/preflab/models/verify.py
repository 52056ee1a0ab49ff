"""Saves a trained model and loads the saved files again. Checks that the loaded model gives the same outputs as the
model in memory."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import Tensor

from preflab.batch import TokenBatch, collate
from preflab.errors import UserError
from preflab.models import forward, lora
from preflab.models.heads import load_scorer
from preflab.models.lm import LanguageModel
from preflab.models.load import load_directory

LARGEST_GAP = 0.01
"""The largest accepted difference between the log-probabilities or scores of the trained model and of the saved model,
if the model computes in fp32. Such differences occur because merging adapters causes rounding errors."""
LARGEST_GAP_BF16 = 0.1
ROWS, ROW_TOKENS = 4, 24
"""The number of compared rows, and the largest number of tokens in a row (prompt and completion)."""


def save_verified(lm: LanguageModel, directory: Path, *, trust_remote_code: bool = False) -> str:
    """Saves a policy or a reward model. Returns '' if the saved model can be loaded and gives the same outputs as the
    trained model. If there is a problem, returns sentences that describe it.

    For a model with LoRA adapters, the merged weights may give different outputs from the trained model. If the saved
    adapters then give the same outputs as the trained model, only the adapters stay in the directory. `load_directory`
    and `load_scorer` load adapters together with their base model.
    """
    lm.save(directory)
    difference = find_difference(lm, directory, trust_remote_code=trust_remote_code)
    if not difference:
        return ""
    adapters = directory / lora.ADAPTER
    if not adapters.is_dir():
        return f"The saved model differs from the trained model: {difference}."
    if find_difference(lm, adapters, trust_remote_code=trust_remote_code):
        return f"The merged weights differ from the trained model ({difference}). Use the adapters in `{lora.ADAPTER}`."
    for file in directory.iterdir():
        if file.is_file():
            file.unlink()
    for file in adapters.iterdir():
        file.rename(directory / file.name)
    shutil.rmtree(adapters)
    return f"Merged weights would differ from the trained model ({difference}). Only the adapters are saved."


def find_difference(lm: LanguageModel, directory: Path, *, trust_remote_code: bool = False) -> str:
    """Returns a description of how a saved model differs from the model in memory, or why the saved model cannot be
    loaded. Returns '' if both models give the same outputs.

    The saved model is loaded on the CPU, because a GPU may not have enough memory for a second model.
    """
    is_policy = forward.unwrap(lm.model).get_output_embeddings() is not None
    try:
        if is_policy:
            again = load_directory(directory, trust_remote_code=trust_remote_code, date=lm.form.date)
        else:
            again = load_scorer(directory, date=lm.form.date)
    except UserError as error:
        return f"it does not load: {error}".rstrip(".")
    if forward.in_bf16(lm.model):
        forward.use_bf16(again.model)
    gap = float((compute(lm, is_policy) - compute(again, is_policy)).abs().max())
    if gap <= (LARGEST_GAP_BF16 if forward.in_bf16(lm.model) else LARGEST_GAP):
        return ""
    return f"{'log-probabilities' if is_policy else 'scores'} differ by {gap:.2g}"


@torch.no_grad()
def compute(lm: LanguageModel, is_policy: bool) -> Tensor:
    """Returns the outputs of a model for the rows of `probe`, on the CPU: the log-probabilities of a policy, or the
    scores of a reward model."""
    batch = probe(lm).to(forward.unwrap(lm.model).device)
    return (forward.token_logprobs(lm.model, batch).logprobs if is_policy else forward.scores(lm.model, batch)).cpu()


def probe(lm: LanguageModel) -> TokenBatch:
    """Returns a batch with rows of random token ids from the whole vocabulary. Models with the same vocabulary size and
    the same context get the same rows."""
    rows = forward.unwrap(lm.model).get_input_embeddings().weight.shape[0]
    length = min(ROW_TOKENS, lm.context)
    ids = torch.randint(rows, (ROWS, length), generator=torch.Generator().manual_seed(0)).tolist()
    cut = length // 3
    return collate([row[:cut] for row in ids], [row[cut:] for row in ids])
