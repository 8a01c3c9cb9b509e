"""The configuration of a reconcile run, shared by the command line and ``ray job submit``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from catalog_tagger.reconcile.mapping import MappingFile
from catalog_tagger.reconcile.yaml_files import checked, read_yaml
from catalog_tagger.tagging.config import new_run_id

_RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class ReconcileConfig(BaseModel):
    """One reconcile run; only `warehouse` and `metadata` are needed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    warehouse: str = Field(min_length=1, description="folder or s3:// prefix of the tables")
    metadata: str = Field(min_length=1, description="what the catalogue says of its tracks (.csv, .parquet)")
    mapping: str | MappingFile | None = Field(
        default=None, description="YAML file, or the mapping itself; by default common names are found"
    )
    decisions: str | None = Field(default=None, description="editors' decisions on flags (.csv, .parquet)")
    precision: float = Field(
        default=0.95, ge=0.5, lt=1, description="share of the flags of each kind that is expected to be right"
    )
    run_id: str = Field(default_factory=new_run_id, description="name of the run; each run needs its own")
    memory_bytes: int = Field(default=2 * 2**30, ge=2**28, description="memory of the join; beyond it, disk")
    temporary: str | None = Field(default=None, description="local folder for what the join spills")
    ray: bool = Field(default=False, description="join on a Ray cluster")
    ray_address: str | None = Field(default=None, description="that cluster; by default RAY_ADDRESS or a local one")

    @field_validator("warehouse", "metadata", "decisions", "mapping", "temporary")
    @classmethod
    def _is_absolute(cls, value: Any) -> Any:
        if not isinstance(value, str) or ("://" in value and not value.startswith("file://")):
            return value
        return os.path.abspath(os.path.expanduser(value.removeprefix("file://")))  # noqa: PTH100, PTH111 - as in TagConfig

    @field_validator("run_id")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not _RUN_ID.fullmatch(value):
            raise ValueError("use 1 to 64 letters, digits, '.', '_' or '-', starting with a letter or digit")
        return value


def make_config(**values: Any) -> ReconcileConfig:
    """A `ReconcileConfig` from keyword arguments; None stands for "not given"."""
    return checked(ReconcileConfig, {key: value for key, value in values.items() if value is not None}, place="")


def load_config(path: str, *, overrides: Mapping[str, Any] | None = None) -> ReconcileConfig:
    """Read a job's YAML file; `overrides` replace keys of it, and a null key counts as not given.

    Raises
    ------
    UsageError
        The file cannot be read, is not a mapping, or holds an unknown key or a bad value.
    """
    content = {**read_yaml(path, example="warehouse: s3://bucket/tags"), **(overrides or {})}
    return checked(ReconcileConfig, {key: value for key, value in content.items() if value is not None}, place=path)
