"""The ceilings: only the arithmetic that a row cannot do without, as fast as this machine does it.

"parts" makes the passes of a row with plain transformers: forward and backward over the row's tokens without padding, 1,024
tokens at a time, the vocabulary head on the tokens of answers only, and the optimizer's step. Answers are drawn by the
matrix products of the linear layers alone, one step for each token at the number of rows that are still drawing. "parts, each
prompt once" reads the prompt of a pair once for both answers. "matrix products" makes only the products of the linear layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaForCausalLM

from benchmarks.inputs import read_rows
from benchmarks.sides.clock import Clock

MICRO_BATCH = 1024
Request = Mapping[str, Any]


def prepare(request: Request) -> Callable[[], dict[str, Any]]:
    torch.set_num_threads(request["threads"])
    torch.manual_seed(0)
    work = KINDS[request["kind"]](request)

    def repeat() -> dict[str, Any]:
        clock = Clock()
        with clock.running():
            work()
        return {"seconds": clock.seconds, "cpu": clock.cpu, "work": request["work"]}

    return repeat


def load(request: Request) -> Any:
    place = Path(request["inputs"])
    dtype = torch.bfloat16 if request["precision"] == "bf16" else torch.float32
    saved = place / "tiny" / "final" if request["kind"].endswith("tiny") else place / "policy"
    return LlamaForCausalLM.from_pretrained(saved, dtype=dtype).eval()


class Trained:
    """A network with a head that is trained on rows of equal length. `scalar`: a critic's head, not the vocabulary's."""

    def __init__(self, model: Any, *, scalar: bool = False) -> None:
        self.trunk, self.vocabulary = model.model, model.config.vocab_size
        width = model.config.hidden_size
        self.head = nn.Linear(width, 1, dtype=model.dtype) if scalar else model.lm_head
        self.parameters = list({*self.trunk.parameters(), *self.head.parameters()})
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-5, fused=True)

    def read(self, rows: int, width: int, answer: int) -> Tensor:
        """The loss of `rows` rows of `width` tokens, over the last `answer` tokens of each."""
        ids = torch.randint(self.vocabulary, (rows, width))
        states = self.trunk(input_ids=ids, use_cache=False).last_hidden_state[:, -answer - 1 : -1]
        out = self.head(states).float()
        if out.shape[-1] == 1:
            return out.square().mean()
        return functional.cross_entropy(out.flatten(0, 1), ids[:, -answer:].flatten())

    def forward(self, rows: int, width: int, answer: int) -> None:
        with torch.no_grad():
            for count in pieces(rows, MICRO_BATCH // width):
                self.read(count, width, answer)

    def update(self, rows: int, width: int, answer: int) -> None:
        for count in pieces(rows, MICRO_BATCH // width):
            self.read(count, width, answer).backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def pieces(total: int, most: int) -> list[int]:
    """`total` cut into pieces of at most `most`, but at least 1."""
    most = max(1, most)
    return [min(most, total - start) for start in range(0, total, most)]


class Products:
    """The matrix products of a model's linear layers on inputs of any number of rows."""

    def __init__(self, model: Any) -> None:
        linear = [part.weight.detach() for part in model.model.modules() if isinstance(part, nn.Linear)]
        self.trunk, self.head = linear, [model.lm_head.weight.detach()]
        sizes = {size for weight in (*self.trunk, *self.head) for size in weight.shape}
        self.inputs = {size: torch.randn(8 * MICRO_BATCH, size, dtype=model.dtype) for size in sizes}

    def forward(self, weights: Sequence[Tensor], rows: int) -> None:
        for weight in weights:
            functional.linear(self.inputs[weight.shape[1]][:rows], weight)

    def backward(self, weights: Sequence[Tensor], rows: int) -> None:
        for weight in weights:
            inputs, slopes = self.inputs[weight.shape[1]][:rows], self.inputs[weight.shape[0]][:rows]
            torch.mm(slopes, weight)
            torch.mm(slopes.T, inputs)

    def draw(self, prompt_tokens: int, lengths: Sequence[int]) -> None:
        """Reads the prompts and draws answers of these lengths, all rows at once; a row that has ended costs nothing."""
        for count in pieces(prompt_tokens, MICRO_BATCH):
            self.forward(self.trunk, count)
        for step in range(max(lengths)):
            alive = sum(length > step for length in lengths)
            self.forward(self.head, alive)
            if step:
                self.forward(self.trunk, alive)


def mean(numbers: Sequence[int]) -> int:
    return round(sum(numbers) / len(numbers))


def prepare_dpo(request: Request) -> Callable[[], None]:
    rows, batch, policy = read_rows(Path(request["inputs"])), request["batch"], Trained(load(request))
    answers = mean([len(row["chosen"]) + len(row["rejected"]) for row in rows])
    prompt = mean([len(row["prompt"]) for row in rows])
    once = request["ceiling"].endswith("once")
    shape = (batch, prompt + answers, answers) if once else (2 * batch, prompt + answers // 2, answers // 2)

    def work() -> None:
        for _ in range(request["steps"]):
            policy.forward(*shape)
            policy.update(*shape)

    return work


def prepare_ppo(request: Request) -> Callable[[], None]:
    rollouts, tiny = request["rollouts"], request["kind"] == "ppo-tiny"
    model = load(request)
    policy, critic, products = Trained(model), Trained(load(request), scalar=True), Products(model)
    drawn = request["drawn"] if tiny else [request["answer"]] * rollouts
    prompt, answer = mean(request["asked"]) if tiny else request["prompt"], mean(drawn)
    width, parts = prompt + answer, request["mini_batches"]

    def work() -> None:
        for _ in range(request["steps"]):
            products.draw(rollouts * prompt, drawn[:rollouts])
            for part in (policy, critic) if tiny else (policy, critic, critic):  # the reference, critic, reward model
                part.forward(rollouts, width, answer)
            for _ in range(request["epochs"] * parts):
                for part in (policy, critic):
                    part.update(rollouts // parts, width, answer)

    return work


def prepare_draw(request: Request) -> Callable[[], None]:
    products = Products(load(request))
    tiny, copies = request["kind"] == "judged-tiny", request["copies"]
    asked = request["asked"][::copies] if tiny else [len(row["prompt"]) for row in read_rows(Path(request["inputs"]))]
    return partial(products.draw, sum(asked), request["drawn"])


def prepare_sft(request: Request) -> Callable[[], None]:
    products = Products(load(request))

    def work() -> None:
        for rows, width, answers in request["shapes"]:
            for weights, count in ((products.trunk, rows * width), (products.head, answers)):
                products.forward(weights, count)
                products.backward(weights, count)

    return work


KINDS: Mapping[str, Callable[[Request], Callable[[], None]]] = {
    "dpo": prepare_dpo,
    "ppo": prepare_ppo,
    "ppo-tiny": prepare_ppo,
    "sample": prepare_draw,
    "judged-tiny": prepare_draw,
    "sft-tiny": prepare_sft,
}
