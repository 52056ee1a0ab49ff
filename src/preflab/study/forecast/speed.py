"""Measures how fast this machine runs the models and the judge of a study, by short timings."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from timeit import timeit
from typing import TypeVar

import torch

from preflab import ops
from preflab.arm.open import pick_device
from preflab.batch import TokenBatch, collate
from preflab.meter import Meter
from preflab.models import forward, lora
from preflab.models.lm import LanguageModel
from preflab.models.load import load_model
from preflab.models.spec import ModelSpec
from preflab.models.token_budget import choose_token_budget
from preflab.sampling.base import Decoding
from preflab.spec import Context
from preflab.study.spec import Study
from preflab.testbeds.base import Testbed
from preflab.train.learner import Learner, Optim, Terms
from preflab.types import Completion, Problem, Prompt

Result = TypeVar("Result")

TIMED_ROWS = 64
"""The largest number of rows in a timed batch, and of programs that are judged in a timing."""
TIMED_TOKENS = 4096
"""The largest number of tokens in a timed batch. A micro-batch of the paper's size might not fit into this machine's
memory."""
TIMED_SAMPLES = 4
"""The number of answers that are sampled for each prompt when sampling is timed. A study also samples several answers
to a prompt (rollouts, pairs and measurements), and runs the forward pass over the prompt only once."""
UPDATE_ROWS = 32
"""The number of rows in a timed update, as in a mini-batch of medium size."""
TIMED_CALLS = 5
"""The largest number of timed calls of a function, not counting the first call."""
LONG_SECONDS = 5.0
"""A timing ends when the calls of the timed function have taken more than this number of seconds in total."""
ANSWER_TOKENS = 16
"""The assumed number of tokens in an answer if the data have no answers."""


@dataclass(frozen=True)
class Speed:
    """The time that one model needs for one row. A row is a prompt and an answer, both of the mean length in the data.
    `sampling`, `training` and `forward`: the seconds to sample the answer, to train on the row, and for a forward pass
    over the row. `forward_flops`: the FLOP of this forward pass, counted as 2N per token for N parameters. `loading`:
    the seconds to load the model."""

    sampling: float
    training: float
    forward: float
    forward_flops: float
    loading: float


@dataclass(frozen=True)
class Examples:
    """Prompts on which a model is timed, each with one answer or None. `words`: the testbed's words, for a model whose
    vocabulary consists of words."""

    prompts: Sequence[Prompt]
    answers: Sequence[Completion | None]
    words: tuple[str, ...]

    @classmethod
    def of(cls, testbed: Testbed, *, with_answers: bool) -> Examples:
        """Takes examples from a testbed, evenly spread over its training records. If `with_answers` is True, the
        examples are the prompts and answers of the testbed's demonstrations. If `with_answers` is False, the examples
        are prompts without answers."""
        if not with_answers:
            prompts = list(testbed.prompts("train"))
            prompts = prompts[spread(len(prompts))]
            return cls(prompts, [None] * len(prompts), testbed.words())
        rows = list({row.prompt.id: row for row in testbed.demonstrations("train")}.values())
        rows = rows[spread(len(rows))]
        return cls([row.prompt for row in rows], [row.completion for row in rows], testbed.words())


def spread(count: int) -> slice:
    """Returns a slice that selects at most `TIMED_ROWS` of `count` rows. The records may be in the order of their
    lengths, so the selected rows are spread evenly."""
    step = max(1, count // TIMED_ROWS)
    return slice(0, step * TIMED_ROWS, step)


def measure_speed(model: ModelSpec, examples: Examples, study: Study) -> Speed:
    """Times a model on the examples. Uses the device, the precision, the number of threads and the adapters of the
    study's runs."""
    torch.set_num_threads(study.threads)
    loading, lm = timed(partial(load_as_run, model, examples, study))
    prompts, answers = encode_examples(lm, examples)
    batch = collate(prompts, answers)
    mean_length = max(1, round(sum(map(len, answers)) / len(answers)))
    decoding = Decoding(max_new_tokens=min(study.evaluation.max_new_tokens, mean_length))
    token_budget = min(study.token_budget or choose_token_budget(lm), TIMED_TOKENS)
    learner = Learner(lm.model, Optim(), token_budget=token_budget, meter=Meter())
    update = batch.select(range(min(UPDATE_ROWS, len(batch))))
    with study.sampler.open(Context()) as sampler:
        repeated = [prompt for prompt in prompts for _ in range(TIMED_SAMPLES)]
        sampler.sample(lm, repeated[:1], seeds=[0], decoding=decoding)  # a sampler may start a process first
        sample = partial(sampler.sample, lm, repeated, seeds=range(len(repeated)), decoding=decoding)
        sampling = timed(sample)[0] / len(repeated)
    return Speed(
        sampling=sampling,
        training=timed(partial(train_once, lm, learner, update))[0] / len(update),
        forward=timed(partial(read_once, lm, batch))[0] / len(batch),
        forward_flops=2.0 * lm.size * (batch.tokens / len(batch)),
        loading=loading,
    )


def load_as_run(model: ModelSpec, examples: Examples, study: Study) -> LanguageModel:
    """Loads the model on the study's device, with the study's precision and the model's adapters. The vocabulary of a
    tiny model is made from the testbed's words."""
    shape = model.tiny.model_copy(update={"words": examples.words})
    plain = model.model_copy(update={"lora": None, "tiny": shape})
    lm = load_model(plain, seed=0, device=pick_device(study.device))
    if model.lora is not None:
        lm = lm.with_model(lora.attach(lm.model, model.lora, seed=0))
    if study.precision == "bf16":
        forward.use_bf16(lm.model)
    return lm


def encode_examples(lm: LanguageModel, examples: Examples) -> tuple[list[list[int]], list[list[int]]]:
    """Returns the prompts and the answers as token ids. Each text is cut to at most half of `TIMED_TOKENS`, and to at
    most half of the model's context. Returns only as many rows as fit into `TIMED_TOKENS`."""
    most = min(TIMED_TOKENS, lm.context) // 2
    prompts = [lm.encode_prompt(prompt)[-most:] for prompt in examples.prompts]
    answers = [
        (lm.encode_completion(answer) if answer else [lm.end_ids[0]] * ANSWER_TOKENS)[:most]
        for answer in examples.answers
    ]
    longest = max(len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True))
    rows = max(1, TIMED_TOKENS // longest)
    return prompts[:rows], answers[:rows]


def train_once(lm: LanguageModel, learner: Learner, batch: TokenBatch) -> None:
    def terms(rows: TokenBatch) -> Terms:
        return Terms(-forward.token_logprobs(lm.model, rows).logprobs, rows.mask, {})

    learner.step(batch, terms, count=float(batch.completion_lengths.sum()), progress=0.0)


def read_once(lm: LanguageModel, batch: TokenBatch) -> None:
    def terms(rows: TokenBatch) -> torch.Tensor:
        return ops.sequence_sum(forward.token_logprobs(lm.model, rows).logprobs, rows.mask)

    forward.by_micro_batch(
        lm.model, terms, batch, TIMED_TOKENS
    ).sum().item()  # `item` waits until the device has finished


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """Calls `work` a few times. Returns the median of the seconds, and the result of the last call. If there are
    several calls, the first call is not counted, because it also imports modules and allocates memory."""
    seconds: list[float] = []
    while True:
        started = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - started)
        if sum(seconds) > LONG_SECONDS or len(seconds) > TIMED_CALLS:
            return statistics.median(seconds[1:] or seconds), result


def judging_seconds(testbed: Testbed, examples: Examples) -> float:
    """Returns the mean number of seconds in which one program is judged while all workers are busy. Returns 0 if the
    answers are not programs."""
    if not testbed.tested:
        return 0.0
    texts = [answer.text if answer else "pass" for answer in examples.answers]
    problems = {prompt.id: prompt for prompt in testbed.prompts("train") if isinstance(prompt, Problem)}
    known = [(problems.get(prompt.id), text) for prompt, text in zip(examples.prompts, texts, strict=True)]
    answers = [(text, (*row.public_tests, *row.hidden_tests)) for row, text in known if row is not None]
    answers = [answer for answer in answers if answer[1]]
    if not answers:
        return 0.0
    testbed.judge([("1", answers[0][1])])  # not timed: the first call opens the sandbox
    return timeit(partial(testbed.judge, answers), number=1) / len(answers)  # a second call would reuse the verdicts
