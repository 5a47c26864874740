"""The stub's parameters and results are those that the built module states. stubtest compares only the names."""

import ast
import importlib.resources
from collections.abc import Iterator

import pytest

from fastlr import _core


def stub_functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    """Every function in the stub, with its name as `function` or `Class.method`."""
    tree = ast.parse(importlib.resources.files("fastlr").joinpath("_core.pyi").read_text())
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{item.name}", item) for item in node.body if isinstance(item, ast.FunctionDef))


def built(name: str) -> ast.FunctionDef:
    """What the module itself says, in the first line of the docstring that pybind11 writes."""
    target: object = _core
    for part in name.split("."):
        target = getattr(target, part)
    (function,) = ast.parse(f"def {str(target.__doc__).splitlines()[0]}: ...").body
    assert isinstance(function, ast.FunctionDef)
    return function


def parameters(function: ast.FunctionDef) -> tuple[int, list[str], list[str]]:
    """How many go by position only (those that pybind11 calls arg0, arg1 among them), then the names of the others."""
    by_position = [item.arg for item in function.args.posonlyargs + function.args.args]
    named = [item.arg for item in function.args.args if item.arg != "self" and not item.arg.startswith("arg")]
    return len(by_position) - len(named), named, [item.arg for item in function.args.kwonlyargs]


def result(function: ast.FunctionDef) -> str:
    assert function.returns is not None
    return ast.unparse(function.returns).removeprefix("fastlr._core.")


FUNCTIONS = dict(stub_functions())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_stub_agrees_with_the_module(name: str) -> None:
    assert parameters(FUNCTIONS[name]) == parameters(built(name))
    stated = result(FUNCTIONS[name])
    assert result(built(name)) in ("object", stated, stated.partition("[")[0])
