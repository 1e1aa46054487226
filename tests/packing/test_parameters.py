"""No function of the packing folder takes a long list of parameters that always go together."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator

from maskmill.pipeline import packing

MOST_PARAMETERS = 6
EXCEPTIONS: dict[str, str] = {}
"""Functions that may take more, as `module.function`, and why."""


def list_long(source: str, module: str) -> Iterator[str]:
    """`module.function` of every function or lambda with more parameters than are allowed."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            declared = node.args
            names = [argument.arg for argument in (*declared.posonlyargs, *declared.args, *declared.kwonlyargs)]
            if len([name for name in names if name not in ("self", "cls")]) > MOST_PARAMETERS:
                yield f"{module}.{getattr(node, 'name', 'lambda')}"


def list_long_of_packing() -> list[str]:
    found = []
    root = os.path.realpath(packing.__path__[0])
    for folder, _, names in os.walk(root):
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(folder, name)
                with open(path, encoding="utf-8") as file:
                    module = os.path.relpath(path, root).removesuffix(".py").replace(os.sep, ".")
                    found += list_long(file.read(), module)
    return sorted(found)


def test_no_function_of_packing_takes_more_than_six_parameters_without_a_reason() -> None:
    assert list_long_of_packing() == sorted(EXCEPTIONS)
    assert all(EXCEPTIONS.values())


def test_parameters_of_every_kind_are_counted() -> None:
    assert list(list_long("def f(self, a, b, c, /, d, e, *rest, g, **more): ...", "m")) == []
    assert list(list_long("class A:\n  async def f(self, a, b, c, /, d, e, *, g, h): ...", "m")) == ["m.f"]
    assert list(list_long("f = lambda a, b, c, d, e, g, h: 0", "m")) == ["m.lambda"]
