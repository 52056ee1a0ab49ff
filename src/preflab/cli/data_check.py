"""`preflab data check`: shows how preflab reads your data, what the data contain, and which records are faulty."""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from preflab.cli.command import CliCommand
from preflab.errors import UserError
from preflab.paths import user_path

if TYPE_CHECKING:
    from preflab.data.reading import FileReading
    from preflab.data.source_check import SourceCheck
    from preflab.models.lm import LanguageModel


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sources", metavar="FILE|NAME", nargs="+", help="a file (JSON lines, JSON, CSV, Parquet), a folder, a hub name"
    )
    parser.add_argument("--split", metavar="NAME", default="", help="the split of a folder or hub name (default: all)")
    parser.add_argument("--rows", metavar="N", type=int, help="read only the first N records (default: all)")
    parser.add_argument(
        "--fields",
        metavar="FIELD=NAME",
        nargs="+",
        default=[],
        help="a field of preflab and its name in your data, e.g. prompt=question; the name null ignores the field",
    )
    parser.add_argument(
        "--model", metavar="NAME|DIR", help="count lengths in this model's tokens, and show a record as tokens"
    )
    parser.add_argument(
        "--fix", metavar="OUT", type=user_path, help="write all records without a fault to this new `.jsonl` file"
    )
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")


def _run(options: argparse.Namespace) -> int:
    """Checks the sources and returns the exit code: 2 if a source has no flawless record, otherwise 0."""
    from preflab.cli.data_text import print_checks, print_dropped
    from preflab.data.files import read_source
    from preflab.data.fix import require_json_lines, write_clean
    from preflab.data.source_check import CHARACTERS, check_source, find_leaks

    if options.rows is not None and options.rows < 1:
        raise UserError(f"--rows must be 1 or more, not {options.rows}.")
    if options.fix is not None:
        require_json_lines(options.fix)
    fields = _parse_fields(options.fields)
    sources = [place for name in options.sources for place in _list_places(name, options.split)]
    if options.fix is not None and len(sources) > 1:
        raise UserError(
            "--fix needs a single source. Name one of these sources, or choose a split with `--split`: "
            + ", ".join(sources)
            + "."
        )
    model = None if options.model is None else _load_model(options.model)
    measure = CHARACTERS if model is None else _measure_in_tokens(model)
    checks = [check_source(name, read_source(name, rows=options.rows), _read(fields), measure) for name in sources]
    leaks = find_leaks(checks)
    record: dict[str, Any] = {"sources": [check.model_dump(mode="json") for check in checks], "leaks": leaks}
    if not options.json:
        print_checks(checks, leaks, model)
    if options.fix is not None:
        lines = read_source(sources[0], rows=options.rows)
        written, dropped = write_clean(options.fix, lines, _read(fields), checks[0].contradicted, measure.find_refusal)
        record["fix"] = {"out": str(options.fix), "written": written, "dropped": [row._asdict() for row in dropped]}
        if not options.json:
            print_dropped(options.fix, written, dropped)
    if options.json:
        print(json.dumps(record, indent=1, ensure_ascii=False))
    return _report_useless(checks)


def _report_useless(checks: list[SourceCheck]) -> int:
    from preflab.text import visible

    useless = [check for check in checks if not check.flawless]
    for check in useless:
        reason = check.first_broken or ", ".join(check.faults) or "the source has no records"
        print(visible(f"{check.source}: no record is both usable and free of faults: {reason}"), file=sys.stderr)
    return 2 if useless else 0


def _list_places(name: str, split: str) -> list[str]:
    """Returns `NAME` for a source without splits, and `NAME#SPLIT` for each split of a source with splits. If the user
    chooses a split, returns only this split."""
    from preflab.data.files import choose_split, list_splits, part_split
    from preflab.testbeds import TESTBEDS

    name, split = part_split(name, split)
    if name in TESTBEDS.names() and not user_path(name).exists():
        raise UserError(f"{name} is a testbed, not a data file. `preflab data show {name}` prints its contents.")
    splits = list_splits(name)
    if split or len(splits) == 1:
        splits = [choose_split(name, splits, split)]
    return [f"{name}#{each}" if each else name for each in splits]


def _parse_fields(pairs: list[str]) -> dict[str, str | None]:
    from preflab.data.reading import check_names

    fields: dict[str, str | None] = {}
    for pair in pairs:
        here, mark, there = pair.partition("=")
        if not mark:
            raise UserError(f"--fields {pair!r} is not FIELD=NAME, such as prompt=question.")
        if here in fields:
            raise UserError(f"--fields names {here!r} twice. Name it once.")
        fields[here] = None if there in ("", "null") else there
    check_names(fields)
    return fields


def _read(fields: dict[str, str | None]) -> FileReading:
    from preflab.data.reading import FileReading
    from preflab.testbeds.code.known import read_problem

    return FileReading(fields, partial(read_problem, {}, True), tested=True)


def _load_model(name: str) -> LanguageModel:
    from preflab.models.load import load_model
    from preflab.models.spec import ModelSpec
    from preflab.train.finished import check_product

    check_product(user_path(name))
    return load_model(ModelSpec(name=name), seed=0)


def _measure_in_tokens(model: LanguageModel) -> Any:
    from preflab.cli.refusal import name_refusal
    from preflab.data.source_check import LengthMeasure
    from preflab.models.refusal import RefusalFinder

    return LengthMeasure(
        "tokens",
        lambda prompt: len(model.encode_prompt(prompt)),
        lambda answer: len(model.encode_completion(answer)),
        model.context,
        partial(name_refusal, RefusalFinder(model)),
    )


DATA_CHECK_COMMAND = CliCommand(
    "data check", "show how your own data are read, and which records are faulty", _add_options, _run
)
