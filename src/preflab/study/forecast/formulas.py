"""Computes how long a model works on a row, for a number of GPUs, by formulas. This module does not import torch.

N is the number of parameters, P and T the tokens of a prompt and of an answer, G the number of GPUs.
"""

from __future__ import annotations

from dataclasses import dataclass

from preflab.study.forecast.cluster import ClusterSpec

MOST_ROWS = 256
"""The largest number of answers that one copy of a model draws at a time."""
USABLE = 0.9
"""The share of a GPU's memory that a run may fill."""
BF16 = 2
"""The bytes of a weight while tokens are drawn."""


@dataclass(frozen=True)
class ModelSize:
    """The size of a model. `parameters`, `trainable`: the numbers of parameters. `token_bytes`: the bytes of the keys and
    values of one token in bf16."""

    parameters: int
    trainable: int
    token_bytes: float


@dataclass(frozen=True)
class RowLength:
    """The mean length of a prompt and of an answer, in tokens."""

    prompt: float
    answer: float

    @property
    def tokens(self) -> float:
        return self.prompt + self.answer


def reading_flops(shape: ModelSize, row: RowLength) -> float:
    """Returns the FLOP of a forward pass over a row: 2 N (P + T) (Kaplan et al. 2020, Section 2.1)."""
    return 2.0 * shape.parameters * row.tokens


def training_flops(shape: ModelSize, row: RowLength, *, recomputes: bool) -> float:
    """Returns the FLOP of an update on a row: the forward pass, a pass as large for the gradients of the states, and one
    for the gradients of the trainable share of the weights: 6 N (P + T) without adapters. If the backward pass computes
    the activations again, one more forward pass."""
    passes = 2 + recomputes + shape.trainable / shape.parameters
    return passes * reading_flops(shape, row)


def reading_seconds(shape: ModelSize, row: RowLength, cluster: ClusterSpec, gpus: int) -> float:
    """Returns the seconds of a forward pass over a row: `reading_flops` / (G x peak x `reading`)."""
    return reading_flops(shape, row) / (gpus * 1e12 * cluster.gpu.tflops * cluster.reading)


def training_seconds(shape: ModelSize, row: RowLength, cluster: ClusterSpec, gpus: int, *, recomputes: bool) -> float:
    """Returns the seconds of an update on a row: `training_flops` / (G x peak x `training`)."""
    return training_flops(shape, row, recomputes=recomputes) / (gpus * 1e12 * cluster.gpu.tflops * cluster.training)


def sampling_seconds(shape: ModelSize, row: RowLength, cluster: ClusterSpec, gpus: int) -> float:
    """Returns the seconds per drawn answer.

    The model is split over the fewest GPUs g on which its bf16 weights fill at most half of the memory, and there are
    G / g copies. A copy draws R answers at a time, as many as its memory holds keys and values for, at most `MOST_ROWS`.
    For each token it reads the weights once and the keys and values of R rows, at g x bandwidth x `decoding`, or it
    computes 2 N R FLOP, whichever takes longer. The prompts are read before.
    """
    copies, rows = copies_and_rows(shape, row, cluster, gpus)
    split = gpus / copies
    read = BF16 * shape.parameters + rows * shape.token_bytes * (row.prompt + row.answer / 2)
    by_memory = read / (split * 1e12 * cluster.gpu.bandwidth * cluster.decoding)
    by_arithmetic = 2.0 * shape.parameters * rows / (split * 1e12 * cluster.gpu.tflops * cluster.reading)
    step = max(by_memory, by_arithmetic)
    return row.answer * step / (rows * copies) + reading_seconds(shape, RowLength(row.prompt, 0), cluster, gpus)


def copies_and_rows(shape: ModelSize, row: RowLength, cluster: ClusterSpec, gpus: int) -> tuple[int, int]:
    """Returns the number of copies of the model that draw answers, and how many answers each draws at a time (see
    `sampling_seconds`)."""
    memory = USABLE * cluster.gpu.memory_gib * 2**30
    weights = BF16 * shape.parameters
    split = 1
    while split < gpus and weights > split * memory / 2:
        split *= 2
    room = max(0.0, split * memory - weights) / (shape.token_bytes * row.tokens)
    return max(1, gpus // split), max(1, min(MOST_ROWS, int(room)))
