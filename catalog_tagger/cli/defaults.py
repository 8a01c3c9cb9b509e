"""Values of options that are not given: from the environment, or a file of a person's or a project's.

An option is what the command line says, else ``CATALOG_TAGGER_<COMMAND>_<OPTION>`` of the environment, else the file's,
else its default. The file is the first of these that is there::

    $CATALOG_TAGGER_CONFIG
    ./catalog-tagger.yaml
    ~/.config/catalog-tagger.yaml      ($XDG_CONFIG_HOME/catalog-tagger.yaml)

It holds options by command, called as on the command line::

    tag: {depth: scan, cost-per-hour: 0.82}
    report: {warehouse: s3://bucket/tags}

Failure rule: a file that is named and missing, no YAML, or names no command or option, is one error, before anything
is done.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import click

from catalog_tagger.errors import UsageError

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
    """Parameter -> the file's value, of one command.

    Raises
    ------
    UsageError
        See the module's failure rule.
    """
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
    known = {
        option.lstrip("-"): parameter.name
        for parameter in command.params
        for option in parameter.opts
        if parameter.name
    }
    found = {}
    for key, value in given.items():
        if str(key) not in known:
            raise UsageError(f"{path}: {name}: no option {key!r}; it has {', '.join(sorted(known))}")
        found[known[str(key)]] = value
    return found
