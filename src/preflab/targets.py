"""Imports the user's own functions, named `module:function`, from the current directory or from installed packages."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from preflab.errors import UserError, nearest


def find_source(target: str) -> Path | None:
    """Returns the source file of the module that `load_object` would import for `module:name`. Returns None if there is
    no such file."""
    look_here()
    try:
        spec = importlib.util.find_spec(target.partition(":")[0])
    except Exception:  # the import of a parent package can raise any error; `load_object` reports the error later
        return None
    path = Path(spec.origin) if spec is not None and spec.origin is not None else None
    return path if path is not None and path.is_file() else None


def look_here() -> str:
    """Adds the current directory to `sys.path`, and returns the current directory."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    return here


def load_object(target: str, noun: str) -> Any:
    """Returns the object that `module:name` (or `package.module:Class.name`) names. Raises `UserError` if the module
    cannot be imported, or if the name does not exist in the module."""
    module_name, _, path = target.partition(":")
    if not _is_dotted(module_name) or not _is_dotted(path):
        raise UserError(
            f"The {noun} {target!r} is not a `module:function`, such as `my_rewards:brevity`.{_advise(module_name)}"
        )
    here = look_here()
    try:
        loaded: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(error.name + ".")):
            raise UserError(f"The {noun} {target!r} does not load, at {where_raised(error)}: {error}") from error
        raise UserError(
            f"The {noun} {target!r} does not load: there is no module {module_name!r} in {here} or among the installed "
            "packages. Start the command in the directory of the file, or install its package."
        ) from error
    except (Exception, SystemExit) as error:  # the module can raise any error, and can try to end the program
        raise UserError(
            f"The {noun} {target!r} does not load, at {where_raised(error)}: {type(error).__name__}: {error}"
        ) from error
    for part in path.split("."):
        if not hasattr(loaded, part):
            names = [name for name, value in vars(loaded).items() if callable(value) and not name.startswith("_")]
            raise UserError(f"The {noun} {target!r} does not load: {part!r} does not exist.{nearest(part, names)}")
        loaded = getattr(loaded, part)
    return loaded


def _is_dotted(name: str) -> bool:
    """Checks whether a name consists of Python identifiers joined by dots. The name of a Python file does not count."""
    return not name.endswith(".py") and all(part.isidentifier() for part in name.split("."))


def _advise(module_name: str) -> str:
    """Returns advice for a user who wrote the file name of a module instead of the module's name; '' for any other
    name."""
    path = Path(module_name)
    if path.suffix != ".py" and len(path.parts) < 2:
        return ""
    return f" Name the module, not its file: start the command in {str(path.parent)!r} and write `{path.stem}:...`."


def load_function(target: str, noun: str) -> Callable[..., Any]:
    """Returns the function that `target` names. Raises `UserError` if there is no such object, or if the object is not
    a function."""
    loaded = load_object(target, noun)
    if not callable(loaded):
        raise UserError(f"The {noun} {target!r} is a {type(loaded).__name__}, not a function.")
    return loaded


def where_raised(error: BaseException) -> str:
    """Returns `file:line` of the innermost stack frame outside importlib: the place where the user's module or function
    failed."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if "importlib" not in frame.filename]
    frame = (outside or frames)[-1]
    return f"{frame.filename}:{frame.lineno}"
