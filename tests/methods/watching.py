"""Notes which fields of specs are read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from preflab.spec import Spec


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[type[Spec], set[str]]]:
    """While open, the names of the fields that are read of any spec, by the spec's class."""
    fields: dict[type[Spec], set[str]] = defaultdict(set)

    def read(spec: Spec, name: str) -> Any:
        if name in type(spec).model_fields:
            fields[type(spec)].add(name)
        return object.__getattribute__(spec, name)

    with monkeypatch.context() as patch:
        patch.setattr(Spec, "__getattribute__", read)
        yield fields
