"""Configurations of jobs: YAML files checked against a model, names of runs, places.

A job's YAML file holds the keys of its model; unknown keys and bad values are refused before anything is started.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from datetime import datetime, timezone
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from catalog_tagger.errors import UsageError
from catalog_tagger.storage import Store

_RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_Model = TypeVar("_Model", bound=BaseModel)


def new_run_id() -> str:
    """A run's default name: its start time in UTC, so that names sort by time, and a few random digits.

    Schedulers start several jobs in the same second; two runs must not share a name by chance.
    """
    return f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def require_run_id(value: str) -> str:
    """The value, if it can be the name of a run; ValueError otherwise, for a model's validator."""
    if not _RUN_ID.fullmatch(value):
        raise ValueError("use 1 to 64 letters, digits, '.', '_' or '-', starting with a letter or digit")
    return value


def absolute(value: str) -> str:
    """A place as every process of a job finds it: local paths are made absolute, so that a run can be resumed."""
    if "://" in value and not value.startswith("file://"):
        return value
    return os.path.abspath(os.path.expanduser(value.removeprefix("file://")))  # noqa: PTH100, PTH111 - keeps patterns


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


def read_yaml(place: str | PathLike[str], *, example: str) -> dict[str, Any]:
    """The mapping that a YAML file holds, local or in object storage.

    Parameters
    ----------
    example
        A key and its value, for the error of a file that has none.

    Raises
    ------
    UsageError
        The file cannot be read or is not a mapping.
    """
    try:
        content = _OnceEach(_text(os.fspath(place))).get_single_data()
    except OSError as error:
        raise UsageError(f"{place}: cannot read the configuration: {error.strerror or 'no such object'}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{place}: not a YAML file: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{place}: expected keys and values, such as '{example}'")
    return {str(key): value for key, value in content.items()}


def _text(place: str) -> str:
    if "://" not in place:
        return Path(place).read_text(encoding="utf-8")
    folder, _, name = place.rpartition("/")
    return Store(folder).read(name).decode()


def load_yaml(path: str | PathLike[str], *, overrides: Mapping[str, Any] | None, example: str) -> dict[str, Any]:
    """As `read_yaml`; `overrides` replace some keys, and a null key counts as not given."""
    values = {**read_yaml(path, example=example), **(overrides or {})}
    return {str(key): value for key, value in values.items() if value is not None}


def validated(model: type[_Model], values: dict[str, Any], *, place: str) -> _Model:
    """The values as a model; a `UsageError` names each key that is wrong, after `place`."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        known = ", ".join(model.model_fields)
        lines = []
        for problem in error.errors():
            key = ".".join(str(part) for part in problem["loc"])
            if problem["type"] == "extra_forbidden":
                lines.append(f"{place}unknown key {key!r}; known keys: {known}")
            elif problem["type"] == "missing":
                lines.append(f"{place}{key} is missing")
            else:
                told = problem["msg"].removeprefix("Value error, ")
                lines.append(f"{place}{key}: {told} (given: {problem['input']!r})")
        raise UsageError("\n".join(lines)) from None
