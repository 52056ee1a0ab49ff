"""Collects the answers of a contestant to the prompts of a contest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from preflab.arm.saved import find_saved_model
from preflab.contest.answer_file import AnswersById, read_answer_file
from preflab.contest.contestant import Entrant
from preflab.contest.settings import Contest
from preflab.evaluation.pairwise import DATA_CHOSEN, data_answers
from preflab.evaluation.preference.endpoint import Endpoint, EndpointUse
from preflab.evaluation.served import ServedPolicy
from preflab.models.load import load_directory, load_model
from preflab.models.spec import ModelSpec
from preflab.paths import user_path
from preflab.sampling import SAMPLERS
from preflab.sampling.base import Decoding
from preflab.spec import Context
from preflab.testbeds.base import Testbed
from preflab.types import Prompt

Announce = Callable[[str], None]
"""A function that takes a progress message of one line."""


def answers_at_hand(contestant: Entrant, testbed: Testbed, prompts: Sequence[Prompt]) -> list[AnswersById]:
    """If the answers of a contestant already exist in a file or in the data, returns them, as one dictionary for each
    seed. Returns [] if a model has to generate the answers."""
    if contestant.source == "file":
        return [read_answer_file(user_path(path), prompts) for path in contestant.members]
    if contestant.source == "data":
        return [
            data_answers(testbed, "chosen" if member == DATA_CHOSEN else "rejected") for member in contestant.members
        ]
    return []


def ask_contestant(
    contest: Contest, contestant: Entrant, prompts: Sequence[Prompt], use: EndpointUse, say: Announce
) -> list[AnswersById]:
    """Lets a model answer the prompts under each seed of the contestant. The model runs locally or behind an endpoint.
    Returns one dictionary of answers for each seed."""
    answers: list[AnswersById] = []
    for place, member in enumerate(contestant.members):
        seed = contest.seed + place
        if contestant.source == "model":
            say(f"{contestant.name} answers {len(prompts)} prompts")
            answers.append(draw_answers(member, prompts, contest.decoding, seed=seed, device=contest.device))
            continue
        policy = ServedPolicy(Endpoint(member, contest.judge.endpoint, use, max_tokens=contest.decoding.max_new_tokens))
        seeds = [seed] * len(prompts)
        say(f"{contestant.name} answers {len(prompts)} prompts: {policy.estimate(prompts, seeds, contest.decoding)}")
        drawn = policy.answer(prompts, seeds=seeds, decoding=contest.decoding)
        answers.append({prompt.id: answer for prompt, answer in zip(prompts, drawn.completions, strict=True)})
    return answers


def draw_answers(name: str, prompts: Sequence[Prompt], decoding: Decoding, *, seed: int, device: str) -> AnswersById:
    """Returns one answer of a model to each prompt. `name`: the directory of a model, the directory of a finished run,
    or a hub name. Each answer is sampled with a seed that depends on `seed` and on the index of the prompt."""
    path = user_path(name)
    lm = load_directory(find_saved_model(path)) if path.is_dir() else load_model(ModelSpec(name=name), seed=seed)
    lm = lm.with_model(lm.model.to(device))
    ids = [lm.encode_prompt(prompt) for prompt in prompts]
    for prompt, row in zip(prompts, ids, strict=True):
        lm.check_fits(prompt, row, 1)
    seeds = [seed * 1_000_003 + place for place in range(len(prompts))]
    with SAMPLERS.parse("native").open(Context(seed=seed, device=device)) as sampler:
        drawn = sampler.sample(lm, ids, seeds=seeds, decoding=decoding)
    return {prompt.id: answer for prompt, answer in zip(prompts, lm.completions(drawn.batch), strict=True)}
