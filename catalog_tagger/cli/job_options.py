"""Options that the jobs for ``ray job submit`` have in common."""

from __future__ import annotations

import argparse
from typing import Any

import yaml


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Give a job its configuration file and ``--set``."""
    parser.add_argument("--config", required=True, help="YAML file of the job")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the file")


def overrides_of(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> dict[str, Any]:
    """What ``--set`` overrides; bad usage where a pair is none or its value is not YAML."""
    overrides = {}
    for pair in arguments.set:
        key, equals, value = pair.partition("=")
        if not equals:
            parser.error(f"--set {pair}: expected KEY=VALUE")
        try:
            overrides[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            parser.error(f"--set {pair}: the value is not YAML")
    return overrides
