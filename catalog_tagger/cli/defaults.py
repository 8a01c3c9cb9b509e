"""Values of options that are not given: from the environment, or a file of a person's or a project's.

An option is what the command line says, else ``CATALOG_TAGGER_<COMMAND>_<OPTION>`` of the environment, else the file's,
else its default. The file is the first of these that is there::

    $CATALOG_TAGGER_CONFIG
    ./catalog-tagger.yaml
    ~/.config/catalog-tagger.yaml      ($XDG_CONFIG_HOME/catalog-tagger.yaml)

It holds options by command, called as on the command line::

    tag: {depth: scan, cost-per-hour: 0.82}
    report: {warehouse: s3://bucket/tags}

What Kubernetes puts into the environment of pods for a service of such a name (``tcp://...``) is no option.

Failure rule: a file that is named and missing, no YAML, or names no command or option, is one error, before anything
is done.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from catalog_tagger.errors import UsageError

PREFIX: Final = "CATALOG_TAGGER"
VARIABLE: Final = "CATALOG_TAGGER_CONFIG"
FILE: Final = "catalog-tagger.yaml"


def config_file() -> Path | None:
    """The file that holds; None where there is none."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser()
    home = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    return next((path for path in (Path(FILE), home / FILE) if path.is_file()), None)


def options_of(command: click.Command, name: str) -> dict[str, Any]:
    """Parameter -> what the environment or the file says, of one command.

    Raises
    ------
    UsageError
        See the module's failure rule.
    """
    known = {option.lstrip("-"): one for one in command.params for option in one.opts if one.name}
    return {**_of_file(name, known), **_of_environment(name, command.params)}


def _of_environment(name: str, parameters: Sequence[click.Parameter]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for parameter in parameters:
        longest = max(parameter.opts, key=len).lstrip("-")
        value = os.environ.get(f"{PREFIX}_{name}_{longest}".upper().replace("-", "_"))
        if value and parameter.name and isinstance(parameter, click.Option) and not value.startswith("tcp://"):
            found[parameter.name] = value.split() if parameter.multiple else value
    return found


def _of_file(name: str, known: Mapping[str, click.Parameter]) -> dict[str, Any]:
    path = config_file()
    if path is None:
        return {}
    from catalog_tagger.cli.main import COMMANDS
    from catalog_tagger.configuration import read_yaml

    content = read_yaml(path, example="tag: {depth: scan}")
    strange = next((key for key in content if key not in COMMANDS), None)
    if strange is not None:
        raise UsageError(f"{path}: no command {strange!r}; commands: {', '.join(COMMANDS)}")
    given = content.get(name) or {}
    if not isinstance(given, dict):
        raise UsageError(f"{path}: {name}: expected options and values, such as 'depth: scan'")
    found: dict[str, Any] = {}
    for key, value in given.items():
        parameter = known.get(str(key))
        if parameter is None or parameter.name is None:
            raise UsageError(f"{path}: {name}: no option {key!r}; it has {', '.join(sorted(known))}")
        is_list = isinstance(value, list)
        one_of_many = isinstance(parameter, click.Option) and parameter.multiple and not is_list
        found[parameter.name] = [value] if one_of_many else value
    return found
