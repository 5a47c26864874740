"""``module:function`` of the command line: the user's function that builds a training, and what may go wrong in it."""

import argparse
import difflib
import importlib
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from types import ModuleType
from typing import Any, NamedTuple

import torch

from fastlr._command import CommandError
from fastlr.studying.errors import StudyError

OURS = os.path.join(os.path.dirname(__file__), "")
OTHERS = tuple(os.path.join(sysconfig.get_path(name), "") for name in ("stdlib", "purelib", "platlib"))
RETURN = (
    "Return (model, loss_fn, loader), with a validation loader as a fourth entry if there is one, or a dict with these "
    "names; in a dict there may be forward in place of loss_fn"
)


class UserTraining(NamedTuple):
    """What the user's function returns: the first entries as a tuple, or any of them by name in a dict."""

    model: torch.nn.Module
    loss_fn: Callable[..., Any] | None
    loader: Iterable[Any]
    validation: Iterable[Any] | None = None
    forward: Callable[[Any, Any], Any] | None = None


def function_name(text: str) -> str:
    """``module:function``, as an argparse type."""
    module, colon, name = text.partition(":")
    if module.endswith(".py") or "/" in module:
        raise argparse.ArgumentTypeError(f"a file and no module: {text!r}. Give the module's name: train:make")
    parts = [*module.split("."), *name.split(".")]
    if not colon or not all(part.isidentifier() for part in parts):
        raise argparse.ArgumentTypeError(f"not module:function: {text!r}. Give both, such as train:make")
    return text


@contextmanager
def users_code(*, show_traceback: bool) -> Iterator[None]:
    """Modules of the current folder can be imported, and what they print goes to stderr."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        with redirect_stdout(sys.stderr):
            yield
    except CommandError as error:
        if show_traceback and error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        raise
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def user_training(text: str) -> UserTraining:
    """Import the module, call the function, and check what it returns."""
    module_name, _, name = text.partition(":")
    function = _function(_module(module_name), module_name, name)
    with failing(f"{name}() of {module_name} failed"):
        returned = function()
    training = _named(text, returned) if isinstance(returned, dict) else _ordered(text, returned)
    if not isinstance(training.model, torch.nn.Module):
        raise CommandError(f"{text} returned no model: a {type(training.model).__name__}. {RETURN}")
    if (training.loss_fn is None) == (training.forward is None):
        which = "neither loss_fn nor" if training.forward is None else "both loss_fn and"
        raise CommandError(f"{text} returned {which} forward. {RETURN}")
    for name in ("loss_fn", "forward"):
        value = getattr(training, name)
        if value is not None and not callable(value):
            raise CommandError(f"{text} returned no function as {name}: a {type(value).__name__}. {RETURN}")
    return training


def _ordered(text: str, returned: Any) -> UserTraining:
    if not isinstance(returned, (tuple, list)) or len(returned) not in (3, 4):
        length = f" of {len(returned)}" if isinstance(returned, (tuple, list)) else ""
        raise CommandError(f"{text} returned no training: a {type(returned).__name__}{length}. {RETURN}")
    return UserTraining(*returned)


def _named(text: str, returned: dict[Any, Any]) -> UserTraining:
    for name in returned:
        if name not in UserTraining._fields:
            raise CommandError(f"{text} returned what no training has: {name!r}. {RETURN}")
    for name in ("model", "loader"):
        if name not in returned:
            raise CommandError(f"{text} returned no {name}: a dict of {', '.join(map(str, returned))}. {RETURN}")
    return UserTraining(**{"loss_fn": None, **returned})


def _module(name: str) -> ModuleType:
    try:
        with failing(f"importing {name} failed"):
            return importlib.import_module(name)
    except CommandError as error:
        missing = error.__cause__
        if isinstance(missing, ModuleNotFoundError) and f"{name}.".startswith(f"{missing.name}."):
            raise CommandError(
                f"no such module: {name!r}. Run this in the folder that has {name.replace('.', '/')}.py, or install it"
            ) from missing
        raise


def _function(module: ModuleType, module_name: str, name: str) -> Callable[[], Any]:
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            close = difflib.get_close_matches(part, [one for one in dir(found) if callable(getattr(found, one))], 1)
            hint = f"Did you mean {close[0]}?" if close else "Give the name of one that is defined there"
            place = getattr(module, "__file__", None) or "no file"
            raise CommandError(f"no such function: {name!r} in {module_name} ({place}). {hint}")
        found = getattr(found, part)
    if not callable(found):
        raise CommandError(f"no function: {name!r} in {module_name} is a {type(found).__name__}. Give a function")
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise CommandError(f"{name} of {module_name} needs arguments ({error}). Give a function without any") from error
    except ValueError:
        pass  # a signature that Python does not know: calling it shows
    return found  # type: ignore[no-any-return]


@contextmanager
def failing(what: str) -> Iterator[None]:
    """What fails inside, as a failure of the command; what fastlr refuses is told in its own words."""
    try:
        yield
    except (Exception, SystemExit) as error:
        if _refused(error):
            raise CommandError(str(error)) from error
        raise CommandError(f"{what}: {_last_line(error)}") from error


def _refused(error: BaseException) -> bool:
    if isinstance(error, StudyError):
        return True
    innermost = traceback.extract_tb(error.__traceback__)[-1].filename
    return isinstance(error, (TypeError, ValueError)) and innermost.startswith(OURS) and _place(error) is None


def _last_line(error: BaseException) -> str:
    """The last line of its traceback, and where in the user's code it comes from."""
    line = traceback.format_exception_only(error)[-1].strip()
    place = _place(error)
    return line if place is None else f"{line} ({place})"


def _place(error: BaseException) -> str | None:
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith((OURS, *OTHERS, "<")):
            return f"{frame.filename}, line {frame.lineno}"
    return None
