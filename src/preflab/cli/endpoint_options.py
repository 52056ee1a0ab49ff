"""The options for a model behind an OpenAI-compatible endpoint, which `winrate` and `evaluate` share."""

from __future__ import annotations

import argparse
import json
from typing import Any

from preflab.errors import UserError


def add_endpoint_options(parser: argparse.ArgumentParser, *, cache: str) -> argparse._ArgumentGroup:  # pyright: ignore[reportPrivateUsage] # argparse has no public name for it
    """Adds the options and returns their group. `cache`: the default place of the replies, in words."""
    group = parser.add_argument_group("openai:MODEL")
    add = group.add_argument
    add("--base-url", metavar="URL", help="the address of an OpenAI-compatible endpoint (default: OpenAI's)")
    add("--key-variable", metavar="NAME", help="the environment variable with the key (default: OPENAI_API_KEY)")
    add("--concurrency", metavar="N", type=int, help="largest number of requests at a time (default: 8)")
    add("--timeout", metavar="S", type=float, help="seconds for a whole reply (default: 120)")
    add("--retries", metavar="N", type=int, help="how often a failed request is sent again (default: 6)")
    add("--max-calls", metavar="N", type=int, help="cap on the requests, checked before the first (default: 5000)")
    add("--max-cost", metavar="X", type=float, help="cap on the cost, checked before the first request")
    add("--price-in", metavar="X", type=float, help="price of a million tokens of requests")
    add("--price-out", metavar="X", type=float, help="price of a million tokens of replies")
    add("--request", metavar="FIELD=JSON", nargs="+", default=(), help="further fields of a request; null removes one")
    add("--cache", metavar="DIR", help=f"where replies are kept (default: {cache})")
    return group


def endpoint_from_options(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the settings of an endpoint that the user gives. Raises `UserError` if a word of `--request` is not
    FIELD=JSON."""
    given = {
        "base_url": options.base_url,
        "key_variable": options.key_variable,
        "concurrency": options.concurrency,
        "timeout": options.timeout,
        "retries": options.retries,
        "max_calls": options.max_calls,
        "max_cost": options.max_cost,
        "price_in": options.price_in,
        "price_out": options.price_out,
        "cache": options.cache,
        "request": parse_request(options.request) or None,
    }
    return {name: value for name, value in given.items() if value is not None}


def parse_request(words: list[str]) -> dict[str, Any]:
    """Parses the words of `--request` and returns the fields that they add to each request. Raises `UserError` if a
    word is not FIELD=JSON."""
    fields: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        try:
            fields[name] = json.loads(value)
        except ValueError as error:
            raise UserError(
                f"--request {word!r} is not FIELD=JSON, such as temperature=0.2 or user='\"me\"'."
            ) from error
        if not name or not sign:
            raise UserError(f"--request {word!r} has no field name. Write FIELD=JSON.")
    return fields
