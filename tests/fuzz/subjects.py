"""What is mutated: the user's files of each kind, and what preflab does with them up to the first step of training.

A subject's `write` puts a mutated input into a folder; its `use` is what the command line does with it, the exit code. What
would train, judge or time models for minutes is cut off behind the last thing that reads the input.
"""

from __future__ import annotations

import gzip
import io
import json
import lzma
import random
import tarfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import yaml

from preflab.analysis.record import read_results
from preflab.arm.open import OpenArm
from preflab.cli import run_command
from preflab.evaluation import EVALUATORS, PAIRWISE_EVALUATORS
from preflab.meter import Meter
from preflab.methods import METHODS
from preflab.rewards import REWARDS, parse_reward
from preflab.rewards.http import HttpReward
from preflab.sampling import SAMPLERS
from preflab.spec import Context
from preflab.study.directory import describe_study, write_manifest
from preflab.study.forecast.detectable import detectable_claims
from preflab.study.launchers.local import import_shared_modules
from preflab.study.load import load_study
from preflab.study.looks import looks_of
from preflab.study.plan import planned_matches, planned_runs, planned_trials
from preflab.study.results.subjects import describe_tuning
from preflab.study.spec import Study
from preflab.testbeds import TESTBEDS
from preflab.theory.problems import ProblemShape, draw_problems, problem_as_json
from preflab.train.directory import STUDY_MANIFEST
from preflab.types import Completion, Prompt, Turn

from .finished_runs import damage_record, list_finished, names_of_runs
from .mutations import mutate_bytes, mutate_data, mutate_lines, write_lines

import_shared_modules()  # once, and not in the fork of each input
for registry in (METHODS, REWARDS, TESTBEDS, EVALUATORS, PAIRWISE_EVALUATORS, SAMPLERS):
    for name in registry.names():
        registry.load(name)

ROOT = Path(__file__).resolve().parents[2]
TINY = {"name": "tiny", "tiny": {"width": 8, "inner": 8, "layers": 1, "heads": 1, "context": 512}}
MINICODE = {"kind": "minicode", "train": 8, "validation": 4, "test": 4}
OPTIM = {"learning_rate": 0.001, "warmup": 0.1}
EVALUATION = {"samples": 2, "k": [1, 2], "max_new_tokens": 16}
RUNS: tuple[dict[str, Any], ...] = (
    {"method": {"kind": "sft", "epochs": 1, "batch_size": 4, "optim": OPTIM}, "evaluator": "hidden-tests"},
    {"method": {"kind": "dpo", "loss": "robust", "beta": 0.1, "loss_settings": {"epsilon": 0.1}}, "looks": 2},
    {"method": {"kind": "ppo", "steps": 1, "rollouts": 4, "decoding": {"max_new_tokens": 4}}, "reward": "tests"},
    {"method": {"kind": "rm", "margin": 0.0, "optim": OPTIM}, "budget": {"unit": "compute", "amount": 1e9}},
    {"method": {"kind": "best-of-n", "n": 2}, "reward": {"kind": "tests", "partial": False, "format": ".*"}},
    {"method": {"kind": "grpo"}, "reward": {"kind": "http", "url": "http://127.0.0.1:9/x", "timeout": 1.0}},
)
STUDIES = ("smoke", "quickstart", "family", "beta", "hh", "apps")
SAFEWORLD = {"kind": "safeworld", "train": 20, "validation": 5, "test": 5}
DECLARED: dict[str, Any] = {
    "schema_version": 1,
    "name": "declared",
    "model": TINY,
    "testbed": SAFEWORLD,
    "evaluators": {"safe": "true-safety", "true": {"kind": "true-reward"}},
    "evaluation": {"samples": 2, "k": [], "max_new_tokens": 8},
    "seeds": {"looks": [3, 5]},
    "looks": 20,
    "pilot": {"source": "earlier runs", "seed_sd": 0.02, "problem_sd": 0.3, "noise_sd": 0.1},
    "stages": {
        "sft": {"plateau": {}, "method": {"kind": "sft", "epochs": 2}},
        "rm": {"init": "stage:sft", "method": {"kind": "rm"}},
    },
    "arms": {
        "dpo": {"init": "stage:sft", "plateau": {"patience": 2}, "method": {"kind": "dpo", "epochs": 2}},
        "ppo": {
            "init": "stage:sft",
            "reward": {"kind": "learned", "path": "stage:rm"},
            "plateau": {"patience": 4},
            "method": {"kind": "ppo", "steps": 20, "rollouts": 16},
        },
        "sft": {"init": "stage:sft", "baseline": True, "policy": "stage:sft"},
    },
    "comparisons": [["dpo", "ppo"]],
    "pairwise": {
        "help": {
            "evaluator": {"kind": "by-true-value", "value": "helpfulness", "margin": 0.1},
            "pairs": [["dpo", "sft"]],
        },
        "reward": {"evaluator": {"kind": "by-reward", "model": {"path": "stage:rm"}}, "against": "data:chosen"},
    },
    "claims": [
        {"id": "C1", "text": "t", "contrast": {"dpo": 1, "sft": -1}, "control": {"ppo": 1, "sft": -1}, "margin": 0.1},
        {
            "id": "C2",
            "part": "a",
            "text": "u",
            "measure": "helpfulness",
            "contrast": {"ppo": 1, "dpo": -1},
            "margin": 1,
        },
    ],
    "tuning": {
        "trials": 2,
        "seeds": [1000],
        "spaces": {"dpo": {"optim.learning_rate": [0.001, 0.0001]}, "ppo": {"kl_coefficient": [0.1]}},
        "shipped": [
            {"arm": "dpo", "settings": {"optim.learning_rate": 0.001}, "seed": 1000, "score": 0.5, "chosen": True},
            {"arm": "dpo", "settings": {"optim.learning_rate": 0.0001}, "seed": 1000, "score": 0.4, "behind": 0.1},
        ],
    },
}
"""A study with what a study declares before it runs: plateaus, looks, a pilot, claims and their controls, tuning that was
done before, and evaluators that compare two arms."""
JSONL: tuple[dict[str, Any], ...] = (
    {"id": "a", "prompt": "Add 1 and 2.", "completion": "3", "level": "easy"},
    {"question": "b", "answer": "c"},
    {"prompt": "d", "chosen": "yes", "rejected": "no", "margin": 0.5},
    {"prompt": [{"role": "user", "content": "e"}], "chosen": "f", "rejected": "g"},
    {"prompt": "h", "completion": "i", "label": True},
    {"prompt": "j", "completions": ["k", "l", "m"], "scores": [3, 1, 2]},
    {"prompt": "n", "preferred": "o", "dispreferred": [{"role": "assistant", "content": "p"}]},
    {"prompt": "q", "answer_a": "r", "answer_b": "s", "preference": "a"},
    {"prompt": "t", "response_1": "u", "response_2": "v", "winner": 2},
)
PROBLEMS: tuple[dict[str, Any], ...] = (
    {"problem_id": "p", "mode": "stdin", "hidden_tests": [{"input": "1", "output": "2"}], "time_limit_s": 1},
    {"problem_id": "q", "mode": "call", "entry_point": "f", "hidden_tests": [{"args": [1], "expected": {"a": 2}}]},
    {"task_id": 11, "text": "Add.", "code": "def f(): 1", "test_list": ["assert f() == 1"], "test_setup_code": ""},
)
PROGRAMS: tuple[dict[str, Any], ...] = tuple(
    {"program_id": name, "problem_id": name, "source": "print(1)"} for name in ("p", "q")
)


class Subject(NamedTuple):
    write: Callable[[Path, random.Random], Path]
    use: Callable[[Path], int]


def _write_settings(data: Any, stem: str, folder: Path, draw: random.Random) -> Path:
    content = json.dumps(mutate_data(data, draw) if draw.random() < 0.7 else data, indent=1).encode()
    path = folder / f"{stem}.{draw.choice(('yaml', 'json'))}"
    path.write_bytes(mutate_bytes(content, draw) if draw.random() < 0.4 else content)
    return path


def write_run(folder: Path, draw: random.Random) -> Path:
    common = {
        "name": "run",
        "testbed": MINICODE,
        "model": TINY,
        "seed": 1,
        "evaluation": {"samples": 2, "k": [1, 2], "max_new_tokens": 16},
    }
    return _write_settings(common | draw.choice(RUNS), "run", folder, draw)


def use_run(path: Path) -> int:
    def stop(parts: OpenArm) -> None:
        raise KeyboardInterrupt

    with mock.patch("preflab.arm.execute.train_and_measure", stop):
        return run_command(["train", "--run", str(path), "--output", str(path.parent / "out"), "-q"])


def write_study(folder: Path, draw: random.Random) -> Path:
    preset = (ROOT / f"src/preflab/study/presets/{draw.choice(STUDIES)}.yaml").read_bytes()
    if draw.random() < 0.3:
        path = folder / "study.yaml"
        path.write_bytes(mutate_bytes(preset, draw))
        return path
    return _write_settings(yaml.safe_load(preset), "study", folder, draw)


def use_study(path: Path) -> int:
    def plan(study: Study, directory: Path, **options: Any) -> None:
        for seed in range(min(study.seeds, 2)):
            one = study.model_copy(update={"seeds": seed + 1})
            list(planned_runs(one, directory)), list(planned_matches(one, directory))
        if study.tuning is not None:
            list(planned_trials(study, directory)), describe_tuning(study)
        looks_of(study), detectable_claims(study, None, problems=5)
        for arms in ([*study.arms][:1], [*study.arms][1:]):
            if arms:
                study.narrowed(arms)
        raise KeyboardInterrupt

    with mock.patch("preflab.api.plan_study", plan):
        return run_command(["study", str(path), "--plan", "--size", "smoke", "--output", str(path.parent / "out")])


def write_declared(folder: Path, draw: random.Random) -> Path:
    return _write_settings(DECLARED, "study", folder, draw)


def use_archive(path: Path) -> int:
    with mock.patch("preflab.study.run.run_all", side_effect=KeyboardInterrupt):
        words = ["study", "smoke", "--size", "smoke", "--output", str(path.parent / "out"), "--import", str(path)]
        return run_command(words)


def write_archive(folder: Path, draw: random.Random) -> Path:
    files = list_finished()
    if draw.random() < 0.6:
        name = draw.choice([*files])
        files[name] = damage_record(name, files[name], draw)
    if draw.random() < 0.2:
        name = draw.choice([*files])
        other = (".", "..", "/etc/passwd", f"../{name}", f"x/{name}", "metrics.jsonl", "\x1b[31m", "é" * 200)
        files[draw.choice(other)] = files.pop(name)
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.type = (
                len(data),
                draw.choice((*[tarfile.REGTYPE] * 300, tarfile.SYMTYPE, tarfile.DIRTYPE)),
            )
            archive.addfile(entry, io.BytesIO(data))
    raw = content.getvalue()
    packed = lzma.compress(mutate_bytes(raw, draw) if draw.random() < 0.3 else raw)
    path = folder / "runs.tar.xz"
    path.write_bytes(mutate_bytes(packed, draw) if draw.random() < 0.2 else packed)
    return path


def use_export(path: Path) -> int:
    return run_command(["export", str(path), str(path.parent / "runs.tar.xz"), "--json"])


def write_export(folder: Path, draw: random.Random) -> Path:
    home = folder / "home"
    finished = [*list_finished().items()]
    for name, data in finished[: draw.choice((0, 1, len(finished)))]:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(data)
    home.mkdir(exist_ok=True)
    write_manifest(home, describe_study(load_study("smoke")).model_copy(update={"runs": names_of_runs()}))
    manifest = home / STUDY_MANIFEST
    manifest.write_bytes(damage_record(STUDY_MANIFEST, manifest.read_bytes(), draw))
    return home


def write_theory(folder: Path, draw: random.Random) -> Path:
    problems = next(draw_problems(1, 0, ProblemShape(2, 3, 0.7, None)))
    return _write_settings(problem_as_json(problems, 0), "problem", folder, draw)


def use_theory(path: Path) -> int:
    return run_command(["theory", "check", "--replay", str(path)])


def write_jsonl(folder: Path, draw: random.Random) -> Path:
    kind = draw.choice(JSONL)
    rows = [kind | {"id": f"{n}"} | ({"prompt": f"{n}"} if "prompt" in kind else {}) for n in range(40)]
    path = folder / draw.choice(("data.jsonl", "data.jsonl", "data.json"))
    content = mutate_lines(rows if draw.random() < 0.7 else [*rows, *JSONL], draw)
    path.write_bytes(gzip.compress(content)[: draw.randrange(20, 400)] if draw.random() < 0.05 else content)
    return path


def use_jsonl(path: Path) -> int:
    return run_command(["data", "show", "jsonl", "--data", str(path)])


def write_judge(folder: Path, draw: random.Random) -> Path:
    for name, rows in (("problems", PROBLEMS), ("programs", PROGRAMS), ("out", [])):
        (folder / f"{name}.jsonl").write_bytes(write_lines([*rows]))
    verdict = {"program_id": "p", "verdict": "passed", "digest": "0", "passed": [True], "detail": {}}
    name, rows = draw.choice((("problems", PROBLEMS), ("programs", PROGRAMS), ("out", (verdict, verdict))))
    (folder / f"{name}.jsonl").write_bytes(mutate_lines([*rows], draw))
    return folder / f"{name}.jsonl"


def use_judge(path: Path) -> int:
    class Pool:
        def judge(self, programs: Any) -> Any:
            list(programs)
            return iter(())

    @contextmanager
    def pool(*settings: Any) -> Any:
        yield Pool()

    files = [word for name in ("problems", "programs", "out") for word in (f"--{name}", f"{path.parent}/{name}.jsonl")]
    with mock.patch("preflab.testbeds.code.judge_file.open_pool", pool):
        return run_command(["judge", *files])


def write_results(folder: Path, draw: random.Random) -> Path:
    record = json.loads(gzip.decompress((ROOT / "docs/results/beta.json.gz").read_bytes()))
    path = folder / "results.json"
    content = json.dumps(mutate_data(record, draw)).encode()
    path.write_bytes(mutate_bytes(content, draw) if draw.random() < 0.4 else content)
    return path


def use_results(path: Path) -> int:
    read_results(path)
    return 0


def write_reward(folder: Path, draw: random.Random) -> Path:
    spec = draw.choice(
        (
            {"kind": "http", "url": "http://a.example:80/s?q=1", "timeout": 1, "batch": 2, "retries": 0},
            {"kind": "command", "command": "cat reply", "timeout": 5},
            {"kind": "ensemble", "models": ["a", {"kind": "learned", "path": "b", "mean": 0.5}], "combine": "worst"},
            {"kind": "tests", "correct": 1, "wrong": 0, "format": "a*"},
            {"kind": "function", "target": "math:sqrt"},
        )
    )
    text = "command:cat x" if draw.random() < 0.5 else "http://u@h:80/"
    replies = b'{"request": "1", "score": 0.5}\n', b'{"scores": [0.5]}'
    mutated = draw.randrange(4)
    data = {
        "spec": mutate_data(spec, draw) if mutated == 0 else spec,
        "word": mutate_bytes(text.encode(), draw).decode(errors="surrogateescape") if mutated == 1 else "tests",
    }
    (folder / "reward.json").write_text(json.dumps(data))
    (folder / "reply").write_bytes(mutate_bytes(replies[0], draw) if mutated == 2 else replies[0])
    (folder / "body").write_bytes(mutate_bytes(replies[1], draw) if mutated == 3 else replies[1])
    return folder / "reward.json"


def use_reward(path: Path) -> int:
    data = json.loads(path.read_text())
    parse_reward(data["word"])
    spec = REWARDS.parse(data["spec"])
    prompt, answer = Prompt("p", (Turn("user", "q"),)), Completion("a")
    body, reply = (path.parent / name for name in ("body", "reply"))
    for each in (spec, REWARDS.parse({"kind": "http", "url": "http://a"}), REWARDS.parse("tests")):
        if each.kind == "http":
            with (
                mock.patch.object(HttpReward, "_send", return_value=body.read_bytes()),
                each.open(Context(meter=Meter())) as reward,
            ):
                reward.score([prompt], [answer])
    if spec.kind == "command":
        command = spec.model_copy(update={"command": spec.command.replace("reply", f"'{reply}'")})
        with command.open(Context(meter=Meter())) as opened:
            opened.score([prompt, prompt], [answer, answer])
    return 0


SUBJECTS = {
    "run": Subject(write_run, use_run),
    "study": Subject(write_study, use_study),
    "declared": Subject(write_declared, use_study),
    "archive": Subject(write_archive, use_archive),
    "export": Subject(write_export, use_export),
    "theory": Subject(write_theory, use_theory),
    "jsonl": Subject(write_jsonl, use_jsonl),
    "reward": Subject(write_reward, use_reward),
    "judge": Subject(write_judge, use_judge),
    "results": Subject(write_results, use_results),
}
