"""The user's own functions, named `module:function`, found in the current directory or among the installed packages."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from preflab.errors import UserError, nearest


def load_object(target: str, noun: str) -> Any:
    """What `module:name` (or `package.module:Class.name`) stands for; raises `UserError` saying which half is wrong."""
    module_name, _, path = target.partition(":")
    if not module_name or not path:
        raise UserError(f"The {noun} {target!r} is no `module:function`, such as `my_rewards:brevity`.")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(error.name + ".")):
            raise UserError(f"The {noun} {target!r} does not load, at {where_raised(error)}: {error}") from error
        raise UserError(
            f"The {noun} {target!r} does not load: there is no module {module_name!r} in {here} or among the installed "
            "packages. Start the command where the file lies, or install its package."
        ) from error
    except Exception as error:
        raise UserError(
            f"The {noun} {target!r} does not load, at {where_raised(error)}: {type(error).__name__}: {error}"
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            names = [name for name, value in vars(found).items() if callable(value) and not name.startswith("_")]
            raise UserError(f"The {noun} {target!r} does not load: no {part!r} there.{nearest(part, names)}")
        found = getattr(found, part)
    return found


def load_function(target: str, noun: str) -> Callable[..., Any]:
    """The function that `target` stands for; raises `UserError` when it is none."""
    found = load_object(target, noun)
    if not callable(found):
        raise UserError(f"The {noun} {target!r} is a {type(found).__name__}, no function.")
    return found


def where_raised(error: BaseException) -> str:
    """`file:line` of the innermost frame: where a user's function failed."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if "importlib" not in frame.filename]
    frame = (outside or frames)[-1]
    return f"{frame.filename}:{frame.lineno}"
