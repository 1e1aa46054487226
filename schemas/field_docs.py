"""The strings under the fields of a settings model, from which the reference pages are made."""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise

from pydantic import BaseModel


def read_field_docs(model: type[BaseModel]) -> dict[str, str]:
    """Read the description of each field of a model from its source and that of its base models.

    pydantic can read these strings too, but would do so at every import of the module.

    Args:
        model: A model with a string under each field.

    Returns:
        The string of each field, by its key in a file, with whitespace collapsed.
    """
    docs: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if issubclass(kind, BaseModel) and kind is not BaseModel:
            (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
            docs |= _read_strings(definition)
    return {field.alias or name: docs[name] for name, field in model.model_fields.items() if name in docs}


def _read_strings(definition: ast.stmt) -> dict[str, str]:
    docs = {}
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    for field, below in pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            docs[field.target.id] = " ".join(str(below.value.value).split())
    return docs
