"""HH-RLHF: dialogues parsed, bad pairs dropped and counted, three parts that share no first human turn."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preflab.data.hh_strings import join_turns, parse_dialogue
from preflab.errors import UserError
from preflab.spec import Context
from preflab.testbeds import TESTBEDS
from preflab.testbeds.base import SPLITS, Testbed
from preflab.testbeds.hh_rlhf import HH
from preflab.testbeds.provenance import make_turn_key
from preflab.types import Split, Turn

GOOD = [
    {
        "chosen": f"\n\nHuman: Question {i}?\n\nAssistant: Good {i}.{j}",
        "rejected": f"\n\nHuman: Question {i}?\n\nAssistant: Bad.",
    }
    for i in range(200)
    for j in range(2)
]


def write(folder: Path, rows: list[dict[str, str]], name: str = "helpful-base/train.jsonl") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = gzip.open if name.endswith(".gz") else open
    with opened(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return folder


def spec(folder: Path, **fields: object) -> HH:
    return TESTBEDS.parse({"kind": "hh_rlhf", "data": str(folder), "subsets": ["helpful-base"], **fields})


def pair(chosen: str, rejected: str) -> dict[str, str]:
    return {"chosen": chosen, "rejected": rejected}


def test_parses_turns_but_no_marker_in_running_text() -> None:
    """A marker counts at the start of a paragraph only: real answers say "Human:" in the middle of a line."""
    text = (
        "\n\nHuman: Hi\nHuman: still me\n\nAssistant: Human: Sure.  Human: no turn\n\nmore\n\nHuman: Assistant: what?"
    )
    assert parse_dialogue(text, "x") == (
        Turn("user", "Hi\nHuman: still me"),
        Turn("assistant", "Human: Sure.  Human: no turn\n\nmore"),
        Turn("user", "Assistant: what?"),
    )


def test_two_turns_of_one_role_are_joined() -> None:
    """Chat templates want roles that alternate; an empty turn between leaves no trace."""
    turns = [Turn("user", "a"), Turn("user", ""), Turn("user", "b"), Turn("assistant", "c")]
    assert join_turns(turns) == (Turn("user", "a\n\nb"), Turn("assistant", "c"))


@given(st.lists(st.text(st.characters(exclude_characters=":", exclude_categories=["Cs"])), min_size=1, max_size=6))
def test_parsing_undoes_writing(contents: list[str]) -> None:
    """Any dialogue that is written in the format comes back, up to the space around its turns."""
    text = "".join(f"\n\n{'Assistant' if i % 2 else 'Human'}: {content}" for i, content in enumerate(contents))
    assert [turn.content for turn in parse_dialogue(text, "x")] == [content.strip() for content in contents]


def test_every_bad_pair_is_dropped_and_counted(tmp_path: Path) -> None:
    """The quirks of the real data, one row each, are reported as caveats and reach nobody's training."""
    start = "\n\nHuman: Odd?\n\nAssistant:"
    odd = [
        pair(f"{start} Same.", f"{start} Same."),
        pair(f"{start} A", "\n\nHuman: Other?\n\nAssistant: B"),
        pair(f"{start} A\n\nHuman: And", f"{start} B\n\nHuman: And"),
        pair(f"{start} ", f"{start} B"),
        pair(f"{start} A\n\nAssistant: B", f"{start} A\n\nAssistant: C"),
        pair(f"{start} A", f"{start} {'B' * 200}"),
        pair(f"\n\nHuman: {'long ' * 60}\n\nAssistant: A", f"\n\nHuman: {'long ' * 60}\n\nAssistant: B"),
    ]
    with spec(write(tmp_path, odd + GOOD), max_prompt_chars=200, max_answer_chars=100).open(Context()) as testbed:
        notes = "\n".join(testbed.notes)
        texts = [record.prompt.turns[0].content for split in SPLITS for record in testbed.preferences(split)]
    for why in (
        "chosen and rejected are the same",
        "the two prompts differ",
        "a dialogue ends in a human turn",
        "an answer is empty",
        "the prompt does not end in a human turn",
        "the prompt has more than 200 characters",
        "an answer has more than 100 characters",
    ):
        assert f"1 of 407 pairs dropped because {why}." in notes
    assert "Odd?" not in texts and len(set(texts)) > 100


@pytest.mark.parametrize("fractions", [(0.5, 0.3, 0.2), (0.2, 0.2, 0.6)])
def test_no_first_turn_stands_in_two_parts(tmp_path: Path, fractions: tuple[float, float, float]) -> None:
    """Parts A, B and C, and training and validation in A and B, share no first turn and cover all of them."""
    folder = write(tmp_path, GOOD)
    seen: dict[str, set[str]] = {}
    for part in ("policy", "evaluator"):
        with spec(folder, part=part, fractions=fractions, validation=0.3).open(Context()) as testbed:
            for split in SPLITS:
                keys = {make_turn_key(record.prompt) for record in testbed.preferences(split)}
                assert keys == {make_turn_key(prompt) for prompt in testbed.prompts(split)}
                assert seen.setdefault("test" if split == "test" else f"{part} {split}", keys) == keys
    assert len(seen) == 5
    assert sum(len(keys) for keys in seen.values()) == len(set().union(*seen.values())) == 200


def test_case_and_spacing_do_not_make_a_first_turn_new(tmp_path: Path) -> None:
    """The same question in capitals lands in the same part, else the evaluator would know it."""
    shouted = [
        {side: text.replace("Question ", "QUESTION   ").replace("Good", "Fine") for side, text in row.items()}
        for row in GOOD
    ]
    with spec(write(tmp_path, GOOD + shouted)).open(Context()) as testbed:
        for split in SPLITS:
            contents = [prompt.turns[0].content for prompt in testbed.prompts(split)]
            assert sum(text.startswith("QUESTION") for text in contents) == len(contents) / 2


def test_zipped_or_not_in_any_order(tmp_path: Path) -> None:
    """The same rows, gzipped, in two files or turned around, give the same splits: nothing depends on position."""
    plain = write(tmp_path / "a", GOOD)
    zipped = write(
        write(tmp_path / "b", GOOD[300:], "helpful-base/train.jsonl.gz"), GOOD[:300], "helpful-base/test.jsonl.gz"
    )
    with spec(plain).open(Context()) as one, spec(zipped).open(Context()) as other:
        for split in SPLITS:
            assert {prompt.id for prompt in one.prompts(split)} == {prompt.id for prompt in other.prompts(split)}
        assert one.provenance()["sha256"] == other.provenance()["sha256"]


def test_chosen_answers_are_the_demonstrations(tmp_path: Path) -> None:
    """SFT imitates chosen answers, each once; prompts are unique though two pairs share each."""
    with spec(write(tmp_path, GOOD + GOOD[:2])).open(Context()) as testbed:
        prompts, demonstrations = testbed.prompts("train"), testbed.demonstrations("train")
        assert len({prompt.id for prompt in prompts}) == len(prompts) == len(demonstrations) / 2
        assert all(record.completion.text.startswith("Good") for record in demonstrations)


def write_subsets(folder: Path) -> Path:
    """Three subsets: 200, 100 and 50 first turns, each with two pairs; the first turns differ between subsets."""
    for name, count in (("helpful-base", 200), ("harmless-base", 100), ("helpful-online", 50)):
        rows = [{side: text.replace("Question", name) for side, text in row.items()} for row in GOOD[: 2 * count]]
        write(folder, rows, f"{name}/train.jsonl")
    return folder


def count_levels(testbed: Testbed, split: Split) -> dict[str, int]:
    return dict(Counter(pair.prompt.level for pair in testbed.preferences(split)))


SUBSETS = ["helpful-base", "harmless-base", "helpful-online"]


def test_a_mixture_is_of_the_training_pairs_alone(tmp_path: Path) -> None:
    """Protects Table 12: what trains is a share or a number of each subset, or one subset alone, while validation and test,
    by which arms are compared, stay the same; the notes say how many pairs there are of each subset."""
    folder = write_subsets(tmp_path)
    with spec(folder, subsets=SUBSETS).open(Context()) as whole:
        present = count_levels(whole, "train")
        held_out = [whole.preferences(split) for split in SPLITS[1:]]
        for mixture, expected in (
            ({"helpful-base": 1.0}, {"helpful-base": present["helpful-base"]}),
            (
                {"harmless-base": 0.5, "helpful-online": 7},
                {"harmless-base": round(present["harmless-base"] / 2), "helpful-online": 7},
            ),
        ):
            with spec(folder, subsets=SUBSETS, mixture=mixture).open(Context()) as mixed:
                assert count_levels(mixed, "train") == expected
                assert [mixed.preferences(split) for split in SPLITS[1:]] == held_out
                assert {prompt.level for prompt in mixed.prompts("train")} == set(mixture)
                notes = "\n".join(mixed.notes)
            assert "pairs by subset: train " + ", ".join(f"{name} {count}" for name, count in expected.items()) in notes
            taken = ", ".join(f"{name} {count} of {present[name]}" for name, count in expected.items())
            assert f"the training pairs are a mixture (seed 0): {taken}." in notes


def test_a_mixture_is_drawn_by_its_seed(tmp_path: Path) -> None:
    """Protects repeatability: the same seed draws the same pairs whatever the order of the files, another seed others, and a
    smaller amount is part of a larger one."""
    one, other = write(tmp_path / "a", GOOD), write(tmp_path / "b", GOOD[::-1])

    def draw(folder: Path, amount: float, seed: int = 0) -> set[tuple[str, str]]:
        settings = {"mixture": {"helpful-base": amount}, "mixture_seed": seed}
        with spec(folder, **settings).open(Context()) as testbed:
            return {(pair.prompt.id, pair.chosen.text) for pair in testbed.preferences("train")}

    assert len(draw(one, 40)) == 40
    assert draw(one, 40) == draw(other, 40) != draw(one, 40, seed=1)
    assert draw(one, 40) < draw(one, 60) < draw(one, 0.9)


def test_a_mixture_survives_a_file(tmp_path: Path) -> None:
    """Protects shares: after a run file, the share 1.0 is still a share, and not one pair."""
    mixture = {"helpful-base": 1.0, "harmless-base": 20}
    written = spec(tmp_path, subsets=SUBSETS, mixture=mixture).model_dump_json()
    read = TESTBEDS.parse(json.loads(written)).mixture
    assert read == mixture and [type(amount) for amount in read.values()] == [float, int]


def test_hub_rows_equal_folder_rows(tmp_path: Path) -> None:
    """`datasets`, which serves the hub, reads the same records from the same files as the local reader."""
    datasets = pytest.importorskip("datasets")
    from preflab.data.hub import load_hub_records

    datasets.disable_progress_bars()
    folder = write(write(tmp_path / "hh", GOOD[:6]), GOOD[6:9], "helpful-base/test.jsonl")
    for split in ("train", "test"):
        through_hub = [dict(record) for _, record in load_hub_records(str(folder), "helpful-base", split)]
        assert through_hub == (GOOD[:6] if split == "train" else GOOD[6:9])


def test_a_hub_that_does_not_answer_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network: one message that says what to do, not a retry loop."""
    hub = pytest.importorskip("huggingface_hub")

    def refuse(*args: object, **fields: object) -> None:
        raise ConnectionError("Name or service not known\nand more")

    monkeypatch.setattr(hub.HfApi, "dataset_info", refuse)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(UserError, match=r"no folder Anthropic/hh-rlhf.*not known\. Check the name and the network"),
        HH().open(Context()),
    ):
        pass


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"chosen": "x"', r"train\.jsonl:3 is not JSON"),
        ("[1]", r"train\.jsonl:3 is a JSON list"),
        ('{"chosen": "\\n\\nHuman: a"}', r"train\.jsonl:3: the field `rejected` is missing \(present: chosen\)"),
        ('{"chosen": 3, "rejected": "x"}', r"train\.jsonl:3: `chosen` must be text, not 3"),
        ('{"chosen": "hello", "rejected": "x"}', r"train\.jsonl:3 is not a dialogue"),
        ('{"chosen": "\\ud800", "rejected": "x"}', r"train\.jsonl:3: `chosen` contains half a surrogate pair"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    """File and line stand in the message."""
    folder = write(tmp_path, GOOD[:2])
    with (folder / "helpful-base/train.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match=complaint), spec(folder).open(Context()):
        pass


def test_damaged_files_and_folders_are_named(tmp_path: Path) -> None:
    """Cut off, empty, not text, absent: each says which file or folder, and what to do."""
    folder = write(tmp_path / "cut", GOOD, "helpful-base/train.jsonl.gz")
    path = folder / "helpful-base/train.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-40])
    (write(tmp_path / "empty", []) / "helpful-base/train.jsonl").write_text("\n")
    (write(tmp_path / "latin", []) / "helpful-base/train.jsonl").write_bytes(b"{}\n\xe9\n")
    write(tmp_path / "one", GOOD[:2])
    for data, complaint in [
        ("cut", r"train\.jsonl\.gz cannot be read after line \d+.*Fetch the file again"),
        ("empty", r"train\.jsonl is empty"),
        ("latin", r"field `chosen` is missing|train\.jsonl:2 is not UTF-8"),
        ("one", r"none of .* falls into these splits.*Use more data"),
        ("absent", r"There is no folder .*absent\. `data` must be a folder with files such as helpful-base/train"),
    ]:
        with pytest.raises(UserError, match=complaint), spec(tmp_path / data).open(Context()):
            pass
    for amount in (1000, 0.0001):
        mixed = spec(write(tmp_path / "all", GOOD), mixture={"helpful-base": amount})
        with (
            pytest.raises(UserError, match=rf"sets the amount {amount} for helpful-base, which has \d+ training"),
            mixed.open(Context()),
        ):
            pass
    with pytest.raises(UserError, match=r"harmless-base contains no file train.*Subsets in this folder: helpful-base"):
        next(spec(tmp_path / "one", subsets=["harmless-base"]).read_raw_records())


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"fractions": [0.5, 0.5, 0.1]}, "must be positive and sum to 1"),
        ({"validation": 0}, "between 0 and 1"),
        ({"subsets": []}, "at least one subset"),
        ({"part": "both"}, "policy"),
        ({"mixture": {"helpful-bse": 0.5}}, "`mixture` names the subset 'helpful-bse'. Did you mean 'helpful-base'"),
        ({"mixture": {"helpful-base": 1.5}}, "an amount must be a share above 0 and up to 1.0, or a whole number"),
        ({"mixture": {"helpful-base": 0}}, "an amount must be a share above 0"),
        ({"mixture": {"helpful-base": 1}}, "1 could mean one pair or all pairs; write 1.0 for all pairs"),
        ({"subset": ["x"]}, "Did you mean 'subsets'"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, fields: dict[str, object], complaint: str) -> None:
    """Settings are checked before any file is opened."""
    with pytest.raises(UserError, match=complaint):
        spec(tmp_path, **fields)


def test_dialogue_has_no_judge(tmp_path: Path) -> None:
    """A code reward or hidden tests on dialogue are the user's mistake, said as such."""
    with spec(write(tmp_path, GOOD)).open(Context()) as testbed:
        with pytest.raises(UserError, match="no tests to run"):
            testbed.judge([("x", ())])
        with pytest.raises(UserError, match="no hidden tests in its test split: choose another evaluator"):
            testbed.hidden_tests("test")


def test_the_real_files(shared_data: Path) -> None:
    """All four subsets load: 6870 pairs, of which 28 equal, 14 with other prompts, 6 empty answers, 2 human ends."""
    with HH(data=str(shared_data / "hh-rlhf")).open(Context()) as testbed:
        notes = "\n".join(testbed.notes)
        assert "28 of 6870 pairs dropped because chosen and rejected are the same" in notes
        assert "14 of 6870 pairs dropped because the two prompts differ" in notes
        assert "6 of 6870 pairs dropped because an answer is empty" in notes
        assert "2 of 6870 pairs dropped because a dialogue ends in a human turn" in notes
        sizes = [len(testbed.preferences(split)) for split in SPLITS]
        for prompt in testbed.prompts("train"):
            roles = [turn.role for turn in prompt.turns]
            assert roles == [("user", "assistant")[i % 2] for i in range(len(roles))] and roles[-1] == "user"
        counts = {split: count_levels(testbed, split) for split in SPLITS}
    assert sizes == [3025, 326, 1403]
    assert [sum(of_split.values()) for of_split in counts.values()] == sizes
    for split, of_split in counts.items():
        assert f"{split} " + ", ".join(f"{subset} {count}" for subset, count in of_split.items()) in notes
