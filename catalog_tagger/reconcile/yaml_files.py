"""YAML that a user wrote, checked against a model; whatever is wrong names the file and the key."""

from __future__ import annotations

from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from catalog_tagger.errors import UsageError
from catalog_tagger.tagging.track_list import parent_of

_Model = TypeVar("_Model", bound=BaseModel)


class _OnceEach(yaml.SafeLoader):
    """A loader that does not let a key of a mapping replace an earlier one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.YAMLError(f"key {name!r} comes twice in line {key.start_mark.line + 1}")
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


def read_yaml(place: str, *, example: str) -> dict[str, Any]:
    """The mapping that a YAML file holds, local or in object storage.

    Raises
    ------
    UsageError
        There is no such file, or it is not a mapping.
    """
    store, name = parent_of(place)
    try:
        content = _OnceEach(store.read(name).decode()).get_single_data()
    except FileNotFoundError:
        raise UsageError(f"{place}: no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{place}: not a YAML file: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{place}: expected keys and values, such as '{example}'")
    return {str(key): value for key, value in content.items()}


def checked(model: type[_Model], values: dict[str, Any], *, place: str) -> _Model:
    """The values as a model; a `UsageError` names `place` and each key that is wrong."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        before = f"{place}: " if place else ""
        lines = []
        for problem in error.errors():
            key = ".".join(str(part) for part in problem["loc"])
            if problem["type"] == "extra_forbidden":
                lines.append(f"{before}unknown key {key!r}")
            elif problem["type"] == "missing":
                lines.append(f"{before}{key} is missing")
            else:
                told = problem["msg"].removeprefix("Value error, ")
                lines.append(f"{before}{key}: {told} (given: {problem['input']!r})")
        raise UsageError("\n".join(lines)) from None
