"""Defines the settings of a preference judge, and opens the judge. Does not import torch before a judge is opened."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from preflab.errors import UserError, nearest
from preflab.evaluation.preference.base import PreferenceJudge
from preflab.evaluation.preference.endpoint import Endpoint, EndpointSettings, EndpointUse
from preflab.evaluation.preference.replies import open_cache
from preflab.evaluation.preference.template import LETTER_TEMPLATE, SENTENCE_TEMPLATE, read_template
from preflab.fields import Count
from preflab.models.spec import HUB_NAME
from preflab.paths import user_path
from preflab.spec import Context, HoldsModels, Spec
from preflab.train.files import file_digests

JUDGE_KINDS = ("openai", "local", "reward")
HUMAN = "human"
"""The name of the judge if people compare the answers."""
EXAMPLES = "openai:MODEL, local:NAME or reward:PATH"


class JudgeName(Spec):
    """The name of a judge. Users write it as `KIND:MODEL` in a file or an option. by: the kind of judge: `openai` (an
    OpenAI-compatible endpoint), `local` (a language model that preflab loads), `reward` (a reward model) or `human`
    (people). model: the model's name, or its path; '' for people."""

    by: Literal["openai", "local", "reward", "human"]
    model: str

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value == HUMAN:
            return {"by": HUMAN, "model": ""}
        kind, colon, model = value.partition(":")
        if kind not in JUDGE_KINDS or not colon or not model:
            raise UserError(
                f"{value!r} does not name a preference judge. Write {EXAMPLES}.{nearest(kind, JUDGE_KINDS)}"
            )
        return {"by": kind, "model": model}

    @model_validator(mode="after")
    def _only_people_have_no_model(self) -> Self:
        if (self.by == HUMAN) != (not self.model):
            raise UserError(
                f"A judge of the kind {self.by!r} cannot have the model {self.model!r}. Write {EXAMPLES}, or {HUMAN}."
            )
        return self

    def __str__(self) -> str:
        return HUMAN if self.by == HUMAN else f"{self.by}:{self.model}"


class JudgeEndpoint(EndpointSettings):
    """The settings of the endpoint of a judge. max_tokens: the largest number of tokens in a reply of the judge."""

    max_tokens: Count = 300


class JudgeSettings(HoldsModels):
    """judge: the judge. endpoint: the settings of an endpoint. template: the name of a built-in template, or the path
    of a template; '' for the judge's default template. margin: if two scores of a reward model differ by `margin` or
    less, the outcome is a tie."""

    judge: JudgeName
    endpoint: JudgeEndpoint = JudgeEndpoint()
    template: str = ""
    margin: float = Field(default=0.0, ge=0)

    def saved_models(self) -> tuple[str, ...]:
        return (self.judge.model,) if self.judge.by == "reward" else ()

    def with_saved_models(self, settings_of: Callable[[str], Mapping[str, Any]]) -> Self:
        if self.judge.by != "reward":
            return self
        path = settings_of(self.judge.model).get("path", self.judge.model)
        return self.model_copy(update={"judge": self.judge.model_copy(update={"model": path})})

    @property
    def template_name(self) -> str:
        """The template of the judge's question; '' for a reward model, which does not need a template."""
        default = {"openai": SENTENCE_TEMPLATE, "local": LETTER_TEMPLATE}.get(self.judge.by, "")
        return self.template or default

    @contextmanager
    def open_judge(self, context: Context, use: EndpointUse | None = None) -> Generator[PreferenceJudge]:
        """Opens the judge. `use`: the counter of an endpoint's calls and cost, which are capped. Raises `UserError` if
        the template or the model cannot be read, or if a key is missing."""
        if self.judge.by == HUMAN:
            raise UserError(
                "Only the command `preflab winrate A B --judge human --output DIR` accepts people as the judge. Name a model "
                f"instead: {EXAMPLES}."
            )
        if self.judge.by == "openai":
            from preflab.evaluation.preference.by_endpoint import EndpointJudge

            template = read_template(self.template_name)
            endpoint = Endpoint(self.judge.model, self.endpoint, use, max_tokens=self.endpoint.max_tokens)
            yield EndpointJudge(endpoint, template)
        elif self.judge.by == "local":
            yield self._open_local(context)
        else:
            from preflab.evaluation.by_reward import OpenByReward
            from preflab.evaluation.preference.by_score import ScoreJudge
            from preflab.rewards.learned import Learned

            if self.template:
                raise UserError(
                    "A reward model scores each answer alone and does not use a template. Remove the template."
                )
            refuse_no_reward_model(self.judge.model)
            with Learned(path=self.judge.model).open(context) as reward:
                yield ScoreJudge(OpenByReward(reward, self.margin))

    def _open_local(self, context: Context) -> PreferenceJudge:
        from preflab.evaluation.preference.by_letters import LetterJudge
        from preflab.models.load import find_directory, load_model
        from preflab.models.spec import ModelSpec

        template = read_template(self.template_name)
        spec = ModelSpec.model_validate(self.judge.model)
        lm = load_model(spec, seed=0, device=context.device, date=context.date)
        files = {} if spec.name == "tiny" else file_digests(find_directory(spec))
        return LetterJudge(lm, template, open_cache(self.endpoint.cache, [str(self.judge), files]))


def refuse_no_reward_model(name: str) -> None:
    """Raises `UserError` if `name` is neither an existing path nor a name on the hub (`owner/name`)."""
    if not user_path(name).exists() and not HUB_NAME.fullmatch(name):
        raise UserError(
            f"There is no reward model {name!r}: it is neither a directory nor a name on the hub (owner/name). `preflab train "
            f"rm` trains a reward model. If {name!r} is a language model, write local:{name}."
        )
