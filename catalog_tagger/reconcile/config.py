"""The configuration of a reconcile run, shared by the command line and ``ray job submit``."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from catalog_tagger.configuration import absolute, load_yaml, new_run_id, require_run_id, validated
from catalog_tagger.reconcile.mapping import MappingFile


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
        return absolute(value) if isinstance(value, str) else value

    @field_validator("run_id")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        return require_run_id(value)


def make_config(**values: Any) -> ReconcileConfig:
    """A `ReconcileConfig` from keyword arguments; None stands for "not given"."""
    return validated(ReconcileConfig, {key: value for key, value in values.items() if value is not None}, place="")


def load_config(path: str | PathLike[str], *, overrides: Mapping[str, Any] | None = None) -> ReconcileConfig:
    """Read a job's YAML file; `overrides` replace keys of it, and a null key counts as not given.

    Raises
    ------
    UsageError
        The file cannot be read, is not a mapping, or holds an unknown key or a bad value.
    """
    values = load_yaml(path, overrides=overrides, example="warehouse: s3://bucket/tags")
    return validated(ReconcileConfig, values, place=f"{path}: ")
