"""The formulas of a plan on a cluster, with the arithmetic of each expected value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preflab.study.forecast import formulas
from preflab.study.forecast.cluster import GPUS, ClusterSpec
from preflab.study.forecast.formulas import ModelSize, RowLength

H100 = ClusterSpec(gpu=GPUS["H100"])
SEVEN = ModelSize(parameters=7_000_000_000, trainable=7_000_000_000, token_bytes=524_288)
"""7e9 parameters; keys and values of 2 x 32 layers x 4,096 x 2 bytes = 524,288 bytes a token."""
ROW = RowLength(prompt=200, answer=100)


def test_a_forward_pass() -> None:
    """2 x 7e9 x 300 = 4.2e12 FLOP. On 8 GPUs at half of 989e12: 4.2e12 / (8 x 494.5e12) = 1.0617e-3 s."""
    assert formulas.reading_flops(SEVEN, ROW) == 4.2e12
    assert formulas.reading_seconds(SEVEN, ROW, H100, 8) == pytest.approx(1.0617e-3, rel=1e-4)


def test_an_update() -> None:
    """6 x 7e9 x 300 = 1.26e13 FLOP; with activations computed again 8 x 7e9 x 300 = 1.68e13. With adapters of 1% of the
    weights (2 + .01) x 4.2e12 = 8.442e12. On 8 GPUs at .4 of 989e12: 1.68e13 / (8 x 395.6e12) = 5.3084e-3 s."""
    assert formulas.training_flops(SEVEN, ROW, recomputes=False) == pytest.approx(1.26e13)
    assert formulas.training_flops(SEVEN, ROW, recomputes=True) == pytest.approx(1.68e13)
    adapted = ModelSize(7_000_000_000, 70_000_000, 524_288)
    assert formulas.training_flops(adapted, ROW, recomputes=False) == pytest.approx(8.442e12)
    assert formulas.training_seconds(SEVEN, ROW, H100, 8, recomputes=True) == pytest.approx(5.3084e-3, rel=1e-4)


def test_copies_of_a_model() -> None:
    """One H100 has .9 x 80 x 2^30 = 7.731e10 bytes. The weights, 1.4e10 bytes, fill less than half: 8 GPUs hold 8 copies.
    (7.731e10 - 1.4e10) / (524,288 x 300) = 402 rows, limited to 256. 70B: 1.4e11 bytes fill at most half of 4 GPUs
    (1.546e11), so 8 GPUs hold 2 copies; (4 x 7.731e10 - 1.4e11) / (327,680 x 300) = 1,721 rows, limited to 256."""
    seventy = ModelSize(70_000_000_000, 70_000_000_000, 327_680)
    assert formulas.copies_and_rows(SEVEN, ROW, H100, 8) == (8, 256)
    assert formulas.copies_and_rows(seventy, ROW, H100, 8) == (2, 256)


def test_few_rows_fit_long_answers() -> None:
    """Answers of 32,768 tokens: 6.331e10 / (524,288 x 32,968) = 3.66, so 3 rows."""
    assert formulas.copies_and_rows(SEVEN, RowLength(200, 32_768), H100, 1) == (1, 3)


def test_drawing_an_answer() -> None:
    """One H100, 256 rows. Each token reads 1.4e10 + 256 x 524,288 x 250 = 4.755e10 bytes at half of 3.35e12 B/s: .028391 s;
    the arithmetic, 2 x 7e9 x 256 / 494.5e12 = .00725 s, is shorter. 100 tokens of 256 rows: .028391 x 100 / 256 = .011090 s
    an answer. Reading the prompt: 2 x 7e9 x 200 / 494.5e12 = .005662 s. Together .016752 s."""
    assert formulas.sampling_seconds(SEVEN, ROW, H100, 1) == pytest.approx(0.016752, rel=1e-3)


@given(st.sampled_from([1, 2, 4, 8]), st.floats(1, 4000), st.floats(1, 4000))
def test_more_gpus_are_never_slower(gpus: int, prompt: float, answer: float) -> None:
    """Twice as many GPUs take half of the time to read and to train, and at most as long to draw."""
    row = RowLength(prompt, answer)
    assert formulas.reading_seconds(SEVEN, row, H100, 2 * gpus) == pytest.approx(
        formulas.reading_seconds(SEVEN, row, H100, gpus) / 2
    )
    assert (
        formulas.sampling_seconds(SEVEN, row, H100, 2 * gpus)
        <= formulas.sampling_seconds(SEVEN, row, H100, gpus) * 1.001
    )
