"""Makes the JSON Schema of a study file, with the schemas of all known methods, testbeds, rewards and evaluators."""

from __future__ import annotations

import json
from typing import Any

from preflab.evaluation import EVALUATORS, PAIRWISE_EVALUATORS
from preflab.methods import METHODS
from preflab.rewards import REWARDS
from preflab.sampling import SAMPLERS
from preflab.spec import Registry
from preflab.study.spec import Study
from preflab.testbeds import TESTBEDS

FIELDS = {"method": METHODS, "testbed": TESTBEDS, "reward": REWARDS, "sampler": SAMPLERS}


def study_schema() -> str:
    """Returns the schema as JSON text. An editor can use the schema to complete and check study files."""
    schema = Study.model_json_schema()
    definitions: dict[str, Any] = schema.setdefault("$defs", {})
    for part in (schema, *list(definitions.values())):
        for field, registry in FIELDS.items():
            if field in part.get("properties", {}):
                part["properties"][field] = any_variant(registry, definitions)
    evaluator = any_variant(EVALUATORS, definitions)
    schema["properties"]["evaluator"] = evaluator
    looks = {"type": "object", "properties": {"looks": schema["properties"].pop("seed_looks")}, "required": ["looks"]}
    schema["properties"]["seeds"] = {"anyOf": [schema["properties"]["seeds"], looks], "title": "Seeds"}
    schema["properties"]["evaluators"] = {"type": "object", "additionalProperties": evaluator}
    definitions["Pairing"]["properties"]["evaluator"] = any_variant(PAIRWISE_EVALUATORS, definitions)
    return json.dumps(schema, indent=1)


def any_variant(registry: Registry[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Returns the schema of a field whose value is one of the specs in the registry, and adds the schemas of these
    specs to `definitions`. The value can also be the name of a spec. The name means the spec with its default
    settings."""
    references: list[dict[str, Any]] = [{"type": "null"}, {"type": "string"}]
    for name in registry.names():
        schema = registry.load(name).model_json_schema()
        definitions.update(schema.pop("$defs", {}))
        definitions[f"{registry.noun}:{name}"] = {**schema, "required": [*schema.get("required", []), "kind"]}
        references.append({"$ref": f"#/$defs/{registry.noun}:{name}"})
    return {"anyOf": references, "title": registry.noun}
