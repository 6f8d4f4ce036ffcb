"""The description of each setting: the docstrings below the fields of the models, read from their source.

pydantic can read them while a class is made, which takes a third of a second. They are wanted by what documents the
settings, and by no command that uses them.
"""

import ast
import inspect
import sys
from functools import cache
from itertools import pairwise
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue


def of(model: type[BaseModel]) -> dict[str, str]:
    """The descriptions of a model's fields by their names, those of its bases included."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if each is not BaseModel and issubclass(each, BaseModel):
            found |= _documented(each)
    found |= {name: field.description for name, field in model.model_fields.items() if field.description}
    return {name: text for name, text in found.items() if name in model.model_fields}


def schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of a model, with the descriptions of its fields."""
    return model.model_json_schema(schema_generator=_WithDescriptions)


class _WithDescriptions(GenerateJsonSchema):
    def model_schema(self, schema: Any) -> JsonSchemaValue:
        made = super().model_schema(schema)
        model: type[BaseModel] = schema["cls"]
        for name, text in of(model).items():
            made["properties"][model.model_fields[name].alias or name].setdefault("description", text)
        return made


def _documented(model: type[BaseModel]) -> dict[str, str]:
    """The texts that follow the annotated names of one class."""
    body = _classes(model.__module__)[model.__qualname__].body
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


@cache
def _classes(module: str) -> dict[str, ast.ClassDef]:
    """The classes of a module's source by their names."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {each.name: each for each in tree.body if isinstance(each, ast.ClassDef)}
