"""Stores the samples of a step in the run's journal, for a sampler that cannot draw the same samples again.

A sampler in another process, such as vLLM, groups its rows by their arrival and computes in half precision, so that a
resumed run would draw other answers than the run that it continues. The journal therefore stores the samples before the
policy learns from them. The tensors are stored bit by bit: 4 bytes for each number, compressed, in base64.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from preflab.batch import KeptTokens, collate
from preflab.sampling.base import Samples
from preflab.train.journal import Journal


def replay_samples(
    journal: Journal, key: str, prompts: Sequence[Sequence[int]], draw: Callable[[], Samples]
) -> Samples:
    """Returns the samples that the journal has under `key`. If it has none, calls `draw` and stores the result.
    `prompts`: the token ids of each row's prompt, which are not stored."""
    return unpack(prompts, journal.replay(key, lambda: pack(draw())))


def pack(samples: Samples) -> dict[str, Any]:
    """Converts samples to a JSON value, without their prompts."""
    kept = samples.kept
    return {
        "ids": _write(samples.batch.completion_ids, np.int32),
        "lengths": samples.batch.completion_lengths.tolist(),
        "truncated": samples.batch.truncated.tolist(),
        "logprobs": _write(samples.logprobs, np.float32),
        "kept": None if kept is None else {"ids": _write(kept.ids, np.int32), "counts": _write(kept.counts, np.int32)},
        "exact": samples.exact,
        "importance_cap": samples.importance_cap,
    }


def unpack(prompts: Sequence[Sequence[int]], stored: dict[str, Any]) -> Samples:
    """Converts the result of `pack` back to samples."""
    rows = _read(stored["ids"], np.int32).tolist()
    completions = [ids[:length] for ids, length in zip(rows, stored["lengths"], strict=True)]
    kept = stored["kept"]
    return Samples(
        collate(prompts, completions, stored["truncated"]),
        _read(stored["logprobs"], np.float32),
        None if kept is None else KeptTokens(_read(kept["ids"], np.int32), _read(kept["counts"], np.int32)),
        exact=stored["exact"],
        importance_cap=stored["importance_cap"],
    )


def _write(tensor: Tensor, dtype: type[np.generic]) -> dict[str, Any]:
    content = np.ascontiguousarray(tensor.numpy().astype(dtype)).tobytes()
    return {"shape": list(tensor.shape), "zlib": base64.b64encode(zlib.compress(content, 1)).decode()}


def _read(stored: dict[str, Any], dtype: type[np.generic]) -> Tensor:
    content = zlib.decompress(base64.b64decode(stored["zlib"]))
    return torch.from_numpy(np.frombuffer(content, dtype=dtype).reshape(stored["shape"]).copy())
