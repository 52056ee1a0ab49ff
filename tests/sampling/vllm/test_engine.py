"""The process that runs vLLM, with a stand-in for vLLM: orders, new weights without a restart, faults and its end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from preflab.errors import UserError
from preflab.sampling.vllm.engine import DrawnRow, DrawOrder, ProcessEngine, check_interpreter, shared_engine


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Any]]:
    """What the stand-in was asked to do so far."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "stub"))
    monkeypatch.setenv("STUB_CALLS", str(tmp_path / "calls"))
    (tmp_path / "calls").touch()
    return lambda: [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]


@pytest.fixture
def engine(calls: Any) -> Iterator[ProcessEngine]:
    opened = ProcessEngine(sys.executable)
    yield opened
    opened.close()


@pytest.fixture
def weights(tmp_path: Path) -> Callable[..., Path]:
    """`weights(mark)`: a directory of weights, with a mark that the stand-in draws as a token."""

    def write(mark: int, width: int = 8) -> Path:
        directory = tmp_path / f"weights-{mark}"
        directory.mkdir()
        (directory / "mark").write_text(str(mark))
        (directory / "config.json").write_text(json.dumps({"hidden_size": width}))
        return directory

    return write


def order(model: Path, **changes: Any) -> DrawOrder:
    params = {"max_tokens": 3, "logprobs": 2}
    settings: dict[str, Any] = {"seed": 0}
    return DrawOrder(
        **{"model": model, "settings": settings, "prompts": [[5, 6], [7]], "params": params, "seeds": [40, 41]}
        | changes
    )


def names(calls: list[Any]) -> list[str]:
    return [call[0] for call in calls]


def test_a_row_has_its_prompt_its_seed_and_its_kept_ids(engine: ProcessEngine, weights: Any, calls: Any) -> None:
    """Prompts and seeds stay together, and kept ids are those of finite log-probability, in ascending order."""
    rows = engine.draw(order(weights(9)))
    assert rows == [
        DrawnRow([6, 40, 9], [-0.5, -1.5, -2.5], [[1, 6], [1, 40], [1, 9]], 0),
        DrawnRow([7, 41, 9], [-0.5, -1.5, -2.5], [[1, 7], [1, 41], [1, 9]], 0),
    ]


def test_new_weights_are_loaded_without_a_restart(engine: ProcessEngine, weights: Any, calls: Any) -> None:
    """The second draw has the new weights, and none of the old weights' keys and values (the prefix cache)."""
    engine.draw(order(weights(8)))
    rows = engine.draw(order(weights(9)))
    assert [row.ids[-1] for row in rows] == [9, 9]
    assert names(calls()) == ["start", "generate", "reload_weights", "reset_prefix_cache", "generate"]


def test_it_sleeps_between_draws_on_a_shared_gpu(engine: ProcessEngine, weights: Any, calls: Any) -> None:
    """Level 2 drops weights and cache; the weights come back before they are loaded, the cache only after that."""
    sleepy = {"seed": 0, "enable_sleep_mode": True}
    engine.draw(order(weights(8), settings=sleepy))
    engine.draw(order(weights(9), settings=sleepy))
    parts = ["wake_up", ["weights"]], ["reload_weights"], ["wake_up", ["kv_cache"]], ["reset_prefix_cache"]
    assert [call[: len(part)] for call, part in zip(calls()[3:7], parts, strict=True)] == list(parts)
    assert names(calls())[:3] + names(calls())[7:] == ["start", "generate", "sleep", "generate", "sleep"]
    assert calls()[2] == ["sleep", 2]


def test_another_architecture_starts_another_process(engine: ProcessEngine, weights: Any, calls: Any) -> None:
    engine.draw(order(weights(8)))
    engine.draw(order(weights(9, width=16), gpus="2,3"))
    starts = [call for call in calls() if call[0] == "start"]
    assert len(starts) == 2 and starts[1][2] == "2,3"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"settings": {"seed": 13}}, "No available memory"), ({"params": {"max_tokens": 13}}, "its process ended")],
)
def test_a_fault_of_vllm_is_one_line(engine: ProcessEngine, weights: Any, changes: Any, reason: str) -> None:
    """An error that vLLM raises, and a process that dies, both end in a sentence and not in a hang."""
    with pytest.raises(UserError, match=f"vLLM failed: .*{reason}.*memory_share"):
        engine.draw(order(weights(8), **changes))
    assert engine.draw(order(weights(9)))[0].ids[-1] == 9  # the next draw starts anew


def test_samplers_share_one_engine_which_the_last_one_ends(weights: Any, calls: Any) -> None:
    """An arm opens its sampler for training, for evaluators and for held-out data; one process must serve all."""
    with shared_engine("key", sys.executable) as first:
        with shared_engine("key", sys.executable) as second:
            assert second is first
            second.draw(order(weights(8)))
        first.draw(order(weights(9)))
        assert isinstance(first, ProcessEngine)
        process = first._process
        assert process is not None and process.poll() is None
    assert process.poll() == 0  # it ended by itself when its input ended
    assert names(calls()).count("start") == 1


def test_an_interpreter_without_vllm_is_refused_at_once() -> None:
    """The message says how to make an environment with vLLM."""
    with pytest.raises(UserError, match=r"which the environment of .* does not have. Install vLLM"):
        check_interpreter(sys.executable)
    with pytest.raises(UserError, match="cannot start '/no/such/python'"):
        check_interpreter("/no/such/python")
