"""The configuration of a tagging job, shared by the command line and ``ray job submit``.

A YAML file holds the same keys as `TagConfig`.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from catalog_tagger.bundle_files import shipped_bundles
from catalog_tagger.configuration import absolute, load_yaml, new_run_id, require_run_id, validated

__all__ = ["TagConfig", "load_config", "make_config", "new_run_id"]


class TagConfig(BaseModel):
    """One tagging job; only `source` and `warehouse` are needed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = Field(min_length=1, description="folder, s3:// prefix, manifest (.csv, .parquet) or tar files")
    warehouse: str = Field(min_length=1, description="folder or s3:// prefix of the tables")
    run_id: str = Field(default_factory=new_run_id, description="name of the run; the same name resumes it")
    bundles: tuple[str, ...] = Field(
        default_factory=shipped_bundles,
        min_length=1,
        description="bundles to run, by name or folder; by default all that ship",
    )
    depth: Literal["skim", "scan", "auto"] = Field(
        default="auto",
        description="auto: the whole of every track but of what a few segments show to be music; scan: all; skim: few",
    )
    shard_tracks: int = Field(default=4000, ge=1, description="most tracks of a work shard")
    shard_bytes: int = Field(default=2**30, ge=1, description="most bytes of encoded audio of a work shard")
    roots: tuple[str, ...] = Field(
        default=(), description="folders and s3:// prefixes that tracks may lie in; by default anywhere the source says"
    )
    retry_quarantined: tuple[str, ...] = Field(
        default=(), description="error codes whose tracks are planned again, or 'all'"
    )
    cost_per_hour: float | None = Field(default=None, ge=0, description="price of one node for an hour, for estimates")
    max_duration_s: float = Field(default=24 * 3600.0, gt=0, description="longer tracks are quarantined")
    decode_timeout_s: float = Field(
        default=30.0,
        gt=0,
        description="most seconds of decoding for a minute of audio, after which a track is given up",
    )
    decode_memory_bytes: int = Field(
        default=384 * 2**20, ge=2**26, description="memory that decoding one track may take"
    )
    precision: Literal["auto", "float32"] = Field(
        default="auto", description="of networks on CPUs; auto: bfloat16 where the CPU multiplies it"
    )
    batch_segments: int | None = Field(default=None, ge=1, description="segments per forward pass")
    device: Literal["auto", "cpu", "gpu"] = Field(
        default="auto", description="one GPU per actor, or CPU; auto: GPUs if the cluster has any now"
    )
    min_actors: int | None = Field(
        default=None, ge=1, description="fewest tagging actors; by default one per GPU, or node, that is there now"
    )
    max_actors: int | None = Field(default=None, ge=1, description="most tagging actors; by default one per GPU")
    decoders: int | None = Field(default=None, ge=1, description="most tracks in flight; by default one per CPU")
    ray_address: str | None = Field(
        default=None, description="Ray cluster to use; by default RAY_ADDRESS or a local one"
    )

    @field_validator("roots", "retry_quarantined", "bundles", mode="before")
    @classmethod
    def _takes_one(cls, value: Any) -> Any:
        """One name may stand without a list around it."""
        return (value,) if isinstance(value, str) else value

    @field_validator("source", "warehouse")
    @classmethod
    def _is_absolute(cls, value: str) -> str:
        """Local paths are made absolute, so that a run can be resumed from anywhere."""
        return absolute(value)

    @field_validator("roots")
    @classmethod
    def _are_absolute(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(cls._is_absolute(root) for root in value)

    @field_validator("bundles")
    @classmethod
    def _are_found_from_anywhere(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Folders are made absolute: the actors of a cluster work in other ones. Names that ship stay names."""
        shipped = shipped_bundles()
        return tuple(cls._is_absolute(one) if one not in shipped and Path(one).is_dir() else one for one in value)

    @field_validator("run_id")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        return require_run_id(value)


def make_config(**values: Any) -> TagConfig:
    """A `TagConfig` from keyword arguments; None stands for "not given".

    Raises
    ------
    UsageError
        A value is not allowed.
    """
    return validated(TagConfig, {key: value for key, value in values.items() if value is not None}, place="")


def load_config(path: str | PathLike[str], *, overrides: Mapping[str, Any] | None = None) -> TagConfig:
    """Read a job's YAML file; a relative `source` or `warehouse` is relative to the working directory.

    `overrides` replace keys of the file, and a null key counts as not given.

    Raises
    ------
    UsageError
        The file cannot be read, is not a mapping, or holds an unknown key or a bad value.
    """
    values = load_yaml(path, overrides=overrides, example="source: s3://bucket/audio")
    return validated(TagConfig, values, place=f"{path}: ")
