"""The side of preflab: whole runs of its methods and its sampler, timed from the first call to the last.

Each kind of work is a function that loads what it needs and returns the function that repeats the work.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn
from transformers import LlamaForCausalLM, LlamaForSequenceClassification

from benchmarks.inputs import END, PAD, SPECIAL, make_tokenizer, read_rows, text_of
from benchmarks.sides.clock import Clock
from preflab.batch import collate
from preflab.methods.base import Method, Parts
from preflab.methods.dpo import DPO
from preflab.methods.ppo import PPO
from preflab.methods.sft import SFT
from preflab.models import forward
from preflab.models.chat import ChatForm
from preflab.models.lm import LanguageModel
from preflab.models.load import load_directory
from preflab.rewards.base import Reward
from preflab.rewards.learned import Learned, LearnedReward
from preflab.rewards.tests import Tests
from preflab.sampling.base import Decoding
from preflab.sampling.native import Native
from preflab.spec import Context
from preflab.testbeds.base import Testbed
from preflab.testbeds.minicode.testbed import Minicode
from preflab.train.learner import Learner, Optim
from preflab.train.loop import open_run
from preflab.train.settings import Keeping
from preflab.types import Completion, Preference, Prompt, Turn

Request = Mapping[str, Any]
Repeat = Callable[[], dict[str, Any]]


def prepare(request: Request) -> Repeat:
    torch.set_num_threads(request["threads"])
    return KINDS[request["kind"]](request)


def steady(rate: float) -> Optim:
    """The optimizer's settings, which the other side has too."""
    return Optim(learning_rate=rate, weight_decay=0.0, schedule="constant", warmup=0.0)


class Rows(Testbed):
    """The rows that the harness wrote, as a testbed."""

    name = "rows"

    def __init__(self, rows: Sequence[Mapping[str, list[int]]]) -> None:
        self.rows = rows

    def prompts(self, split: str) -> list[Prompt]:
        return [Prompt(str(n), (Turn("user", text_of(row["prompt"])),)) for n, row in enumerate(self.rows)]

    def preferences(self, split: str) -> list[Preference]:
        answers = [(Completion(text_of(row["chosen"])), Completion(text_of(row["rejected"]))) for row in self.rows]
        return [Preference(prompt, *pair) for prompt, pair in zip(self.prompts(split), answers, strict=True)]


@dataclass(frozen=True)
class Watched(Parts):
    """Parts that note the batch and the statistics of each update."""

    updates: list[tuple[Any, Mapping[str, float]]] = field(default_factory=list[tuple[Any, Mapping[str, float]]])

    def learner(self, model: nn.Module, optim: Optim) -> Learner:
        learner = super().learner(model, optim)
        step = learner.step

        def noted(batch: Any, *args: Any, **settings: Any) -> dict[str, float]:
            stats = step(batch, *args, **settings)
            self.updates.append((batch, stats))
            return stats

        learner.step = noted
        return learner


@contextmanager
def opened(lm: LanguageModel, testbed: Testbed, precision: str, reward: Reward | None = None) -> Generator[Watched]:
    """The parts of a new run, with a copy of the model to train."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(TemporaryDirectory()))
        keeping = Keeping(progress=False, wandb=None)
        run = stack.enter_context(open_run(place, {"spec": {}}, seed=0, keeping=keeping))
        native = Native(precision="bf16" if precision == "bf16" else "model")
        yield Watched(
            run=run,
            policy=lm.with_model(copy.deepcopy(lm.model)),
            testbed=testbed,
            preferences=partial(testbed.preferences, "train"),
            validate=None,
            sampler=stack.enter_context(native.open(Context(meter=run.meter))),
            reward=reward,
        )


def timed_training(method: Method, parts: Parts) -> dict[str, float]:
    clock = Clock()
    with clock.running():
        method.train(parts)
    return {"seconds": clock.seconds, "cpu": clock.cpu}


def load_policy(request: Request, *, ends: Sequence[int] = (END,)) -> LanguageModel:
    """Loads the policy that the harness wrote. `ends`: the ids that end an answer."""
    model = LlamaForCausalLM.from_pretrained(Path(request["inputs"]) / "policy", dtype=torch.float32).eval()
    if request["precision"] == "bf16":
        forward.use_bf16(model)
    tokenizer = make_tokenizer(request["vocabulary"])
    return LanguageModel(model, tokenizer, tuple(ends), PAD, request["context"], form=ChatForm(control=SPECIAL[:3]))


def drawn_ends(request: Request) -> range:
    """The ids that end a drawn answer: the first words, or, where no answer may end, an id that is never drawn."""
    first = len(SPECIAL) if request["ends"] else request["vocabulary"]
    return range(first, first + max(1, request["ends"]))


def answer_logprobs(lm: LanguageModel, rows: Sequence[Mapping[str, list[int]]]) -> list[float]:
    """The log-probabilities of the first answers, which must be those of the other side."""
    batch = collate([row["prompt"] for row in rows[:5]], [row["chosen"] for row in rows[:5]])
    with torch.no_grad():
        return forward.sequence_logprobs(lm.model, batch).tolist()


def prepare_dpo(request: Request) -> Repeat:
    rows = read_rows(Path(request["inputs"]))
    lm, testbed = load_policy(request), Rows(rows)
    assert all(
        lm.encode(pair.prompt, pair.chosen, 1024)[:2] == (row["prompt"], row["chosen"])
        for pair, row in zip(testbed.preferences("train"), rows, strict=True)
    ), "the texts of the rows do not give their ids"
    optim = steady(request["rate"])
    method = DPO(beta=0.1, batch_size=request["batch"], epochs=1, optim=optim)
    numbers = {tuple(row["chosen"]): number for number, row in enumerate(rows)}

    def repeat() -> dict[str, Any]:
        with opened(lm, testbed, request["precision"]) as parts:
            answer: dict[str, Any] = timed_training(method, parts)
        sides = [batch.chosen for batch, _ in parts.updates]
        order = [
            numbers[tuple(ids[:length])]
            for side in sides
            for ids, length in zip(side.completion_ids.tolist(), side.completion_lengths.tolist(), strict=True)
        ]
        losses = [stats["loss"] for _, stats in parts.updates]
        return answer | {"work": count_pairs(rows), "agree": losses[:5], "order": order}

    return repeat


def count_pairs(rows: Sequence[Mapping[str, list[int]]]) -> int:
    """The tokens of both answers, each with its prompt."""
    return sum(2 * len(row["prompt"]) + len(row["chosen"]) + len(row["rejected"]) for row in rows)


def ppo_method(request: Request, rate: float) -> PPO:
    optim = steady(rate)
    return PPO(
        steps=request["steps"],
        rollouts=request["rollouts"],
        epochs=request["epochs"],
        mini_batches=request["mini_batches"],
        decoding=Decoding(max_new_tokens=request["answer"]),
        kl_coefficient=0.05,
        reference_ema=0.0,
        optim=optim,
        critic_optim=optim,
    )


def prepare_ppo(request: Request) -> Repeat:
    place = Path(request["inputs"])
    rows = read_rows(place)
    lm = load_policy(request, ends=drawn_ends({**request, "ends": 0}))
    scorer = LlamaForSequenceClassification.from_pretrained(place / "reward", dtype=torch.float32).eval()
    method, agree = ppo_method(request, request["rate"]), answer_logprobs(lm, rows)
    work = request["steps"] * request["rollouts"] * (request["prompt"] + request["answer"])

    def repeat() -> dict[str, Any]:
        with opened(lm, Rows(rows), request["precision"]) as parts:
            settings = Learned(path=str(place / "reward"))
            reward = LearnedReward(settings, replace(lm, model=scorer, end_ids=(END,)), parts.run.meter)
            answer: dict[str, Any] = timed_training(method, replace(parts, reward=reward))
        return answer | {"work": work, "agree": agree}

    return repeat


def prepare_sample(request: Request) -> Repeat:
    rows = read_rows(Path(request["inputs"]))
    lm = load_policy(request, ends=drawn_ends(request))
    prompts = [row["prompt"] for row in rows for _ in range(request["copies"])]
    decoding, agree = Decoding(max_new_tokens=request["answer"]), answer_logprobs(lm, rows)
    stack = ExitStack()
    native = Native(precision="bf16" if request["precision"] == "bf16" else "model")
    sampler = stack.enter_context(native.open(Context()))

    def repeat() -> dict[str, Any]:
        clock = Clock()
        with clock.running():
            samples = sampler.sample(lm, prompts, seeds=range(len(prompts)), decoding=decoding)
        lengths = samples.batch.completion_lengths.tolist()
        return {"seconds": clock.seconds, "cpu": clock.cpu, "work": sum(lengths), "agree": agree, "drawn": lengths}

    return repeat


def open_tiny(request: Request) -> tuple[LanguageModel, Testbed]:
    """The `tiny` that the harness trained, and the testbed that it was trained on."""
    testbed = ExitStack().enter_context(Minicode(train=request["train"]).open(Context()))
    return load_directory(Path(request["inputs"]) / "tiny" / "final"), testbed


def prepare_sft_tiny(request: Request) -> Repeat:
    lm, testbed = open_tiny(request)
    method = SFT(epochs=1, batch_size=request["batch"], optim=steady(1e-5))

    def repeat() -> dict[str, Any]:
        with opened(lm, testbed, "fp32") as parts:
            answer: dict[str, Any] = timed_training(method, parts)
        batches = [batch for batch, _ in parts.updates]
        shapes = [[len(batch), int(batch.lengths.max()), int(batch.completion_lengths.sum())] for batch in batches]
        return answer | {"work": sum(batch.tokens for batch in batches), "shapes": shapes}

    return repeat


def prepare_ppo_tiny(request: Request) -> Repeat:
    lm, testbed = open_tiny(request)
    method = ppo_method(request, 1e-5)

    def repeat() -> dict[str, Any]:
        with opened(lm, testbed, "fp32") as parts:
            reward = ExitStack().enter_context(Tests().open(Context(testbed=testbed, meter=parts.run.meter)))
            answer: dict[str, Any] = timed_training(method, replace(parts, reward=reward))
        rows = [batch.batch for batch, _ in parts.updates]
        answers = torch.cat([row.completion_lengths for row in rows]).tolist()
        prompts = torch.cat([row.prompt_lengths for row in rows]).tolist()
        lengths = {"drawn": answers, "asked": prompts}
        return answer | {"work": request["steps"] * request["rollouts"], **lengths}

    return repeat


def prepare_judged_tiny(request: Request) -> Repeat:
    lm, testbed = open_tiny(request)
    prompts = [prompt for prompt in testbed.prompts("train")[: request["prompts"]] for _ in range(request["copies"])]
    decoding = Decoding(max_new_tokens=request["answer"])
    stack = ExitStack()
    sampler = stack.enter_context(Native().open(Context()))
    reward = stack.enter_context(Tests().open(Context(testbed=testbed)))

    def repeat() -> dict[str, Any]:
        clock = Clock()
        with clock.running():
            ids = [lm.encode_prompt(prompt) for prompt in prompts]
            samples = sampler.sample(lm, ids, seeds=range(len(ids)), decoding=decoding)
            reward.score(prompts, lm.completions(samples.batch))
        lengths = {"drawn": samples.batch.completion_lengths.tolist(), "asked": [len(row) for row in ids]}
        return {"seconds": clock.seconds, "cpu": clock.cpu, "work": len(prompts), **lengths}

    return repeat


KINDS: Mapping[str, Callable[[Request], Repeat]] = {
    "dpo": prepare_dpo,
    "ppo": prepare_ppo,
    "sample": prepare_sample,
    "sft-tiny": prepare_sft_tiny,
    "ppo-tiny": prepare_ppo_tiny,
    "judged-tiny": prepare_judged_tiny,
}
