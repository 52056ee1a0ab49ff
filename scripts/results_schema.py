"""The documentation of `results.json`, written from the records' own docstrings.

`.venv/bin/python scripts/results_schema.py > docs/results-schema.md` writes it again; a test compares the two.
"""

from __future__ import annotations

from typing import Any

from preflab.analysis.record.results import Results

INTRODUCTION = """\
# The schema of results.json

`results.json` contains everything that a report shows: finished numbers with their intervals, never raw data. The same
study gives the same bytes, except for `timing`. Keys that are not listed here are refused. A number may be `null` if it
is unknown, does not apply, or was not finite. Shares are numbers between 0 and 1, not percent.

`results.csv` contains the same numbers in long form, with the columns study, arm, method, seed (`all` for an estimate
over seeds), quantity, level (empty for all problems), decoding (`chosen`, or `unit` for temperature 1), value, low,
high, run directory and outcome. Each claim has a row with its contrast as the arm, `claim` as the method, and an
outcome. Each pair of arms that a pairwise evaluator compared has a row with `pairwise` as the method. If a spreadsheet
would run a text as a formula, the text has an apostrophe before it.

From Python, `preflab.report.read_results(path)` returns the records, and `preflab.report.write_report(results, directory)`
writes the report again. Fields in bold are required.
"""


def schema_markdown() -> str:
    """Returns one table for each record: first `Results`, then its parts in the order of their first use."""
    schema = Results.model_json_schema()
    definitions: dict[str, Any] = schema["$defs"]
    order = ["Results"]
    for name in order:  # grows while it is read
        fields = schema if name == "Results" else definitions[name]
        used = (part for field in fields["properties"].values() for part in _references(field))
        order += [part for part in dict.fromkeys(used) if part not in order and "properties" in definitions[part]]
    sections = [_section(name, schema if name == "Results" else definitions[name]) for name in order]
    return "\n".join([INTRODUCTION, *sections])


def _section(name: str, schema: dict[str, Any]) -> str:
    lines = [f"## {name}", "", schema["description"], "", "| Field | Type | Meaning |", "|---|---|---|"]
    for field, described in schema["properties"].items():
        name = f"**`{field}`**" if field in schema.get("required", ()) else f"`{field}`"
        lines.append(f"| {name} | {_type(described)} | {_cell(described.get('description', ''))} |")
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    """Writes a text into a cell of a Markdown table: on one line, and without a bar that would begin another cell."""
    return " ".join(text.split()).replace("|", "\\|")


def _references(field: dict[str, Any]) -> list[str]:
    """Returns the names of the records that a field's type contains."""
    if "$ref" in field:
        return [field["$ref"].rpartition("/")[2]]
    inner = [*field.get("anyOf", ()), *(field[key] for key in ("items", "additionalProperties") if key in field)]
    return [name for part in inner if isinstance(part, dict) for name in _references(part)]


def _type(field: dict[str, Any]) -> str:
    """Writes a JSON Schema type in words: 'list of Run', 'number or null', 'one of yes, no, unknown'."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return "any value" if name == "JsonValue" else name
    if "anyOf" in field:
        return " or ".join(_type(part) for part in field["anyOf"])
    if "enum" in field:
        return f"one of {', '.join(field['enum'])}"
    if "const" in field:
        return f"always {field['const']}"
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}"
    if isinstance(values := field.get("additionalProperties"), dict):
        return f"map to {_type(values)}"
    return str(field.get("type", "any value"))


if __name__ == "__main__":
    print(schema_markdown(), end="")
