"""Chat templates: prompt and answer are the template's own rendering, or the model is refused with what to do."""

from __future__ import annotations

import datetime
import resource
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.models.conftest import CHATML, byte_level, save_chat
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from preflab.errors import UserError
from preflab.models import refusal
from preflab.models import template as reading
from preflab.models.lm import LanguageModel
from preflab.models.load import load_directory
from preflab.models.refusal import LONG_TEXT, REWRITTEN, RefusalFinder, find_refusal
from preflab.types import Completion, Prompt, Turn

CUT = CHATML.index("{% if add_generation_prompt")
TURNS, ASK = CHATML[:CUT], CHATML[CUT:]
PARTS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% for c in m.content %}{% if c.type == 'text' %}"
    "{{ c.text }}{% endif %}{% endfor %}{{ '<|im_end|>\\n' }}{% endfor %}"
)
CHANNEL = (
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{{ '<|start|>assistant<|channel|>final<|message|>' + m.content + ('<|return|>' if loop.last else '<|end|>') }}"
    "{% else %}{{ '<|start|>' + m.role + '<|message|>' + m.content + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)
CHANNEL_TOKENS = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<pad>")
REASONING = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' and loop.last %}"
    "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{{ m.content + '<|im_end|>\\n' }}{% endfor %}" + ASK
)
SPACED = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[Q] ' + m.content + ' [A]' }}"
    "{% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\\n' + m.content + eos_token + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) }}"
    "{{ '\\n' + m.content | trim + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
PHI = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\\n' + m.content + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
)
QUESTION, ANSWER = "Is 2 + 2 four?", "Sure it is"


def ask(*contents: str) -> Prompt:
    roles: Any = ("user", "assistant")
    return Prompt("p", tuple(Turn(roles[i % 2], content) for i, content in enumerate(contents)))


def whole(lm: LanguageModel, prompt: Prompt, answer: str) -> list[int]:
    """The ids of the template's own rendering of the dialogue with its answer."""
    turns = [*prompt.turns, Turn("assistant", answer)]
    parts = [{"role": turn.role, "content": [{"type": "text", "text": turn.content}]} for turn in turns]
    plain = [{"role": turn.role, "content": turn.content} for turn in turns]
    text = lm.tokenizer.apply_chat_template(parts if lm.form.parts else plain, tokenize=False)
    return list(lm.tokenizer(text, add_special_tokens=False).input_ids)


def joined(lm: LanguageModel, prompt: Prompt, answer: str) -> list[int]:
    return lm.encode_prompt(prompt) + lm.encode_completion(Completion(answer))


def sentencepiece(*, merges: bool) -> Tokenizer:
    """As Llama 2's in transformers 5: a blank stands before the first piece alone. `merges`: "|>\\nyes" is one token."""
    texts = ["yes no six seven Is it so? And that? Sure it is def add(xs):\n    return sum(xs)\n  two  spaces\n\n"] * 60
    texts += ["<|user|>\n<|assistant|>\nyes [INST] [/INST] yes"] * (60 if merges else 0)
    texts += ["<|useristan>[INST] [/INST]\n02+4"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=True)]
    )
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    special = ["<unk>", "<s>", "</s>", "<pad>"]
    trainer = trainers.BpeTrainer(vocab_size=260, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def greedy_tokens() -> Tokenizer:
    """As Phi-3's: the tokens around turns take the white space behind them."""
    tokenizer = byte_level(["<s>", "</s>", "<pad>"])
    names = ("<|user|>", "<|assistant|>", "<|end|>")
    tokenizer.add_special_tokens([AddedToken(name, rstrip=True, normalized=False, special=True) for name in names])
    return tokenizer


SP = {"special": ("<s>",), "eos": "</s>"}
CASES: dict[str, tuple[str, dict[str, Any], list[str]]] = {  # template, tokenizer, end tokens
    "ChatML": (CHATML, {}, ["<|im_end|>"]),
    "no generation prompt": (TURNS, {}, ["<|im_end|>"]),
    "contents as parts": (PARTS + ASK, {}, ["<|im_end|>"]),
    "an ordinary token ends": (
        CHATML,
        {"special": ("<s>", "</s>", "<pad>"), "plain": ("<|im_start|>", "<|im_end|>"), "eos": "</s>"},
        ["<|im_end|>", "</s>"],
    ),
    "a channel before the answer": (
        CHANNEL,
        {"special": CHANNEL_TOKENS, "eos": "<|return|>"},
        ["<|return|>", "<|end|>"],
    ),
    "an empty block of reasoning": (REASONING, {}, ["<|im_end|>"]),
    "text before the end token": (SPACED, {}, ["<|im_end|>"]),
    "a date": ("{{ strftime_now('%d %b %Y') + '\\n' }}" + CHATML, {}, ["<|im_end|>"]),
    "other names, trimmed contents": (
        GEMMA,
        {"special": ("<bos>", "<start_of_turn>", "<end_of_turn>", "<eos>", "<pad>"), "eos": "<eos>"},
        ["<end_of_turn>", "<eos>"],
    ),
    "tokens that take white space": (PHI, {**SP, "backend": greedy_tokens}, ["<|end|>", "</s>"]),
    "SentencePiece, a line": (ZEPHYR, {**SP, "backend": partial(sentencepiece, merges=False)}, ["</s>"]),
    "SentencePiece, a blank": (MISTRAL, {**SP, "backend": partial(sentencepiece, merges=False)}, ["</s>"]),
    "SentencePiece joins the header and the answer": (
        ZEPHYR,
        {**SP, "backend": partial(sentencepiece, merges=True)},
        ["</s>"],
    ),
}


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[LanguageModel, list[str]]:
    chat, how, ends = CASES[request.param]
    if "backend" in how:
        how = {**how, "backend": how["backend"]()}
    return load_directory(save_chat(tmp_path / "m", chat, **how)), ends


def test_prompt_and_answer_begin_the_templates_rendering(case: tuple[LanguageModel, list[str]]) -> None:
    """Protects what every method learns from: the ids of prompt and answer, the end token included, are those of the whole
    dialogue through the template, in a first turn and in a later one; the question is in the prompt; the token that the
    template writes ends first."""
    lm, ends = case
    assert [lm.tokenizer.convert_ids_to_tokens(index) for index in lm.end_ids] == ends
    for prompt in (ask(QUESTION), ask(QUESTION, "yes", "Is it so?")):
        ids = joined(lm, prompt, ANSWER)
        assert whole(lm, prompt, ANSWER)[: len(ids)] == ids
        assert QUESTION in lm.tokenizer.decode(lm.encode_prompt(prompt))


@pytest.mark.parametrize(
    ("chat", "ends"),
    [
        (
            "{% for m in messages %}{{ m.content }}{% if not loop.last or add_generation_prompt %}"
            "{{ '<|im_end|>\n' }}{% endif %}{% endfor %}",
            ["<|im_end|>", "<|endoftext|>"],
        ),
        (
            "{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' if m.role == 'user' else ' = ' }}{{ m.content }}"
            "{% endfor %}",
            ["<|endoftext|>"],
        ),
    ],
)
def test_the_end_of_an_earlier_answer_counts_where_the_last_has_none(
    chat: str, ends: list[str], tmp_path: Path
) -> None:
    """Protects answers from going on behind the token that ends them everywhere but at a dialogue's end. A token that opens
    the next question ends no answer."""
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    lm = load_directory(save_chat(tmp_path / "m", chat, special=special, eos="<|endoftext|>"))
    assert lm.tokenizer.convert_ids_to_tokens(list(lm.end_ids)) == ends


def test_answers_come_back(case: tuple[LanguageModel, list[str]]) -> None:
    """Protects programs, whose blanks mean something: decoding undoes encoding, leading blanks and lines included, whether
    the answer ended or not."""
    lm, _ = case
    for text in (" yes", "    return sum(xs)", "  two", "def add(xs):\n    return sum(xs)\n", "yes "):
        for truncated in (False, True):
            answer = Completion(text, truncated)
            assert lm.decode(lm.encode_completion(answer), truncated=truncated) == answer


def test_spelled_tokens_are_text(case: tuple[LanguageModel, list[str]]) -> None:
    """Protects the turns of a dialogue: a user who spells the tokens around turns writes text, and so does an answer;
    nothing of the text is lost."""
    lm, ends = case
    spelled = f"a {ends[0]} b <|im_start|>assistant" if "<|im_start|>" in lm.tokenizer.get_vocab() else f"a {ends[0]} b"
    plain, ids = lm.encode_prompt(ask("a  b")), lm.encode_prompt(ask(spelled))
    for token in {*lm.end_ids, *lm.tokenizer.convert_tokens_to_ids(list(lm.form.control))}:
        assert ids.count(token) == plain.count(token)
    answer = lm.encode_completion(Completion(f"yes{ends[0]}no"))
    assert sum(answer.count(token) for token in lm.end_ids) == 1


THINKING = (  # as Qwen3's: reasoning in an answer takes the place of the empty block
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% set text = m.content.split('</think>')[-1].lstrip('\\n') %}"
    "{% if m.role == 'assistant' and loop.last %}"
    "{% set thought = m.content.split('</think>')[0] if '</think>' in m.content else '' %}"
    "{{ '<think>\\n' + thought.split('<think>')[-1].strip('\\n') + '\\n</think>\\n\\n' }}{% endif %}"
    "{{ text + '<|im_end|>\\n' }}{% endfor %}" + ASK
)


def test_an_answer_with_reasoning_of_its_own_is_named(tmp_path: Path) -> None:
    """Protects reasoning data: a template that puts an answer's reasoning in place of its empty block writes no two blocks, so
    the row is refused; plain answers, also those with other brackets or white space, and drawn ids are taken."""
    lm = load_directory(save_chat(tmp_path / "m", THINKING, plain=("<think>", "</think>")))
    assert lm.form.header == "<think>\n\n</think>\n\n"
    thought = Completion("<think>\nhm\n</think>\n\nyes")
    assert whole(lm, ask(QUESTION), thought.text) != joined(lm, ask(QUESTION), thought.text)
    for answers in ([thought], [Completion("yes"), thought], [Completion("hm</think>yes")]):
        refusal = find_refusal(lm, ask(QUESTION), answers)
        assert refusal is not None and refusal.fault == REWRITTEN and "'<think>\\n\\n</think>'" in refusal.reason
    drawn = lm.decode([*lm.encode_prompt(ask("a"))[:3], *lm.end_ids[:1]], truncated=False)
    taken = [Completion(text) for text in ("yes", "\n yes \n", "", "a < b", "<b>yes</b>", "<|im_end|>", "<think>\nhm")]
    assert find_refusal(lm, ask(QUESTION, "yes", "Is it so?"), [*taken, replace(thought, drawn=drawn.drawn)]) is None
    assert find_refusal(load_directory(save_chat(tmp_path / "plain", CHATML)), ask(QUESTION), [thought]) is None


def changing(content: str) -> str:
    """ChatML whose answers are written as `content` says."""
    written = "}}{% if m.role == 'assistant' %}{{ " + content + " }}{% else %}{{ m.content }}{% endif %}{{"
    return CHATML.replace("+ m.content +", written)


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ("m.content.split('</think>')[-1]", "<think>r</think>Sure"),
        ("m.content|e", "Tom & Jerry"),
        ("m.content|e", "it's so"),
        ("m.content|tojson", 'say "yes"'),
        ("m.content|replace('\\n', ' ')", "one\ntwo"),
        ("m.content[:20]", "a plain answer of more than twenty letters"),
    ],
)
def test_an_answer_that_the_template_changes_is_named(content: str, answer: str, tmp_path: Path) -> None:
    """Protects from training on ids that the template never writes, also where it writes nothing before an answer, and also
    behind plain rows that it takes. Other answers are taken."""
    lm = load_directory(save_chat(tmp_path / "m", changing(content)))
    finder = RefusalFinder(lm)
    for text in ("yes", "so be it"):
        assert finder.find(ask(QUESTION), [Completion(text)]) is None
    refusal = finder.find(ask(QUESTION), [Completion("no"), Completion(answer)])
    assert refusal is not None and refusal.fault == REWRITTEN and "this answer in a changed form" in refusal.reason
    assert finder.find(ask(QUESTION), [Completion("no")]) is None


@pytest.mark.parametrize("where", ["messages[0].role == 'system'", "messages|length > 4"])
@pytest.mark.parametrize("written", ["add_generation_prompt", "m.role == 'assistant'"])
def test_what_stands_before_an_answer_to_some_prompts_alone_is_named(where: str, written: str, tmp_path: Path) -> None:
    """Protects prompts with a system turn or many turns: the template writes a block before their answers alone, or asks
    for it alone. The row is named, with or without answers; short prompts are taken."""
    block = "{% if " + where + " %}{{ '<think>\n' }}{% endif %}"
    if written == "add_generation_prompt":
        chat = TURNS + ASK.replace("{% endif %}", block + "{% endif %}")
    else:
        head = "{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}" + block + "{% endif %}"
        chat = "{% for m in messages %}" + head + "{{ m.content + '<|im_end|>\n' }}{% endfor %}" + ASK
    finder = RefusalFinder(load_directory(save_chat(tmp_path / "m", chat)))
    turns = (Turn("system", "be kind"), Turn("user", "hello")) if "system" in where else ask(*["a"] * 5).turns
    for answers in ([], [Completion("yes")]):
        assert finder.find(ask("hello"), answers) is None
        refusal = finder.find(Prompt("p", turns), answers)
        assert refusal is not None and "Change the turns of the prompt" in refusal.reason


def test_plain_rows_of_the_same_roles_are_rendered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the start of a run on many rows: of 50 plain rows the template renders the first. A row with brackets, a
    blank turn, or other roles is rendered itself, since the template may react to them."""
    lm = load_directory(save_chat(tmp_path / "plain", CHATML))
    rendered: list[str] = []
    real = refusal.render_prompt

    def watch(tokenizer: Any, form: Any, turns: Any) -> str:
        if turns[-1].content != LONG_TEXT:
            rendered.append(turns[-1].content)
        return real(tokenizer, form, turns)

    monkeypatch.setattr(refusal, "render_prompt", watch)
    finder = RefusalFinder(lm)
    for number in range(50):
        assert finder.find(Prompt(str(number), (Turn("user", f"question {number}"),)), [Completion("yes")]) is None
    assert rendered == ["question 0"]
    for text, answer in (("<think>", "yes"), ("why", "[/INST]"), (" ", "yes")):
        finder.find(Prompt(text, (Turn("user", text),)), [Completion(answer)])
    finder.find(Prompt("s", (Turn("system", "be kind"), Turn("user", "hello"))), [Completion("yes")])
    assert rendered[1:] == ["<think>", "why", " ", "hello"]


REFUSED = {
    "an answer begins in another way than asked": (
        TURNS + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}",
        "generation prompt ends with",
    ),
    "the question vanishes": ("{{ messages[-1].role + '<|im_end|>' }}", "leaves out the question or the answer"),
    "a range without end": ("{% for i in range(10**9) %}x{% endfor %}" + CHATML, "(?i)range"),
    "a megabyte": ("{% for i in range(99999) %}xxxxxxxxxxxxxxxxxxxx{% endfor %}" + CHATML, "characters for a short"),
    "an error": ("{{ raise_exception('needs tools') }}", "needs tools"),
    "no template": ("{% if %}", "(?i)expected"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_cannot_be_rendered_is_refused(name: str, tmp_path: Path) -> None:
    """Protects from ids that no template wrote, and from a template that does not end: one line with what to do."""
    chat, says = REFUSED[name]
    with pytest.raises(UserError, match=says) as refusal:
        load_directory(save_chat(tmp_path / "m", chat))
    assert "chat_template" in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_template_that_does_not_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects from waiting for ever: loops within the sandbox's bound, one in another."""
    monkeypatch.setattr(reading, "PATIENCE", 0.5)
    loops = "{% for i in range(3000) %}{% for j in range(3000) %}{% endfor %}{% endfor %}"
    with pytest.raises(UserError, match="more than"):
        load_directory(save_chat(tmp_path / "m", loops + CHATML))


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'a' * 10**10 }}",
        "{% set x = 'a' * 400000000 %}",
        "{{ 'a'.center(10**10) }}",
        "{{ '%10000000000d' % 1 }}",
        "{% set n = namespace(x='ab') %}{% for i in range(40) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    ],
)
def test_a_template_that_takes_gigabytes_is_given_up(text: str, tmp_path: Path) -> None:
    """Protects the memory of the machine: a text of gigabytes, however it is made, is refused before it is made here."""
    path, peak = save_chat(tmp_path / "m", text + CHATML), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"takes more than 256 MB of memory\. Set another `chat_template`"):
        load_directory(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < peak + 200_000  # in kB


def test_nothing_of_a_template_that_does_not_end_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the processor: what renders a template that was given up has ended."""
    monkeypatch.setattr(reading, "PATIENCE", 0.3)
    loops = "{% for i in range(99999) %}" * 2 + "{% endfor %}" * 2
    path, threads = save_chat(tmp_path / "m", loops + CHATML), threading.active_count()
    children = psutil.Process().children()
    with pytest.raises(UserError, match="more than"):
        load_directory(path)
    assert threading.active_count() <= threads
    assert psutil.Process().children() == children


def test_a_turn_that_the_template_leaves_out_is_named(tmp_path: Path) -> None:
    """Protects a system turn from vanishing without a word: the prompt is refused by its id."""
    chat = CHATML.replace("{% for m in messages %}", "{% for m in messages if m.role != 'system' %}")
    lm = load_directory(save_chat(tmp_path / "m", chat))
    with pytest.raises(UserError, match=r"'p'.*leaves out the text of the system turn"):
        lm.encode_prompt(Prompt("p", (Turn("system", "Be brief."), Turn("user", QUESTION))))


def test_the_date_stands_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects resume: a template that writes today's date writes the day that the model was opened with; a policy trained
    with it keeps the day, and its template stays as it was."""
    from transformers.utils import chat_template_utils

    chat = "{{ strftime_now('%d %b %Y') + '\\n' }}" + CHATML
    path = save_chat(tmp_path / "m", chat)
    lm = load_directory(path, date="2026-03-05")
    before = lm.encode_prompt(ask(QUESTION))
    assert lm.tokenizer.decode(before).startswith("05 Mar 2026\n")

    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Later:
            return cls(2031, 1, 1)

    monkeypatch.setattr(chat_template_utils, "datetime", Later)
    chat_template_utils._compile_jinja_template.cache_clear()  # pyright: ignore[reportPrivateUsage]
    assert lm.encode_prompt(ask(QUESTION)) == before
    lm.save(tmp_path / "saved")
    again = load_directory(tmp_path / "saved", date="2030-01-01")
    assert again.encode_prompt(ask(QUESTION)) == before
    assert again.tokenizer.chat_template == chat
    assert load_directory(path).form.date == datetime.date.today().isoformat()


@pytest.mark.parametrize(
    ("day", "asked", "written"),
    [
        ("2025-03-04", "%s %V %u %h %l %C %R", "1741046400 10 2 Mar 12 20 00:00"),
        ("2025-03-04", "%-d. %B %Y, %e %^a %_d %Ey %Od", "4. March 2025,  4 TUE  4 25 04"),
        ("2025-02-02", "%b %h %j %G %g", "Feb Feb 033 2025 25"),
        ("2025-03-04", "100%% %%d %%%d%Z|%f", "100% %d %04|000000"),
    ],
)
def test_a_date_is_written_as_strftime_writes_it(day: str, asked: str, written: str, tmp_path: Path) -> None:
    """Protects prompts from directives that stay as they are, or that an earlier replacement changes."""
    lm = load_directory(save_chat(tmp_path / "m", f"{{{{ strftime_now('{asked}') + '\\n' }}}}" + CHATML), date=day)
    assert lm.tokenizer.decode(lm.encode_prompt(ask(QUESTION))).startswith(f"{written}\n")


@pytest.mark.parametrize("asked", ["%q", "%05d", "%"])
def test_a_part_of_a_date_that_nothing_knows_is_refused(asked: str, tmp_path: Path) -> None:
    """Protects from a prompt that no clock would write: one line that names the directive."""
    with pytest.raises(UserError, match=rf"it writes the date with {asked[:3]}.*Set another `chat_template`"):
        load_directory(save_chat(tmp_path / "m", f"{{{{ strftime_now('{asked}') }}}}" + CHATML), date="2025-03-04")


def test_a_token_that_no_dialogue_holds_needs_no_row(tmp_path: Path) -> None:
    """Protects Gemma 3, whose tokenizer has an image token that its text model does not: it opens, and the token is text;
    without a row for a token that the template writes it is refused."""
    how: Any = {"special": ("<bos>", "<|im_start|>", "<|im_end|>", "<pad>"), "plain": ("<image>",)}
    lm = load_directory(save_chat(tmp_path / "m", CHATML, rows=260, **how))
    assert len(lm.tokenizer) == 261 and lm.model.get_input_embeddings().weight.shape[0] == 260
    assert max(lm.encode_prompt(ask("an <image>")) + lm.encode_completion(Completion("an <image>"))) < 260
    late: Any = {"special": ("<bos>", "<pad>"), "plain": ("<|im_start|>", "<|im_end|>"), "eos": "<bos>"}
    with pytest.raises(UserError, match=r"no row for the token '<\|im_"):
        load_directory(save_chat(tmp_path / "late", CHATML, rows=258, **late))
