"""The configuration of a search for songs; a YAML file holds the same keys."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from catalog_tagger.configuration import absolute, load_yaml, new_run_id, require_run_id, validated
from catalog_tagger.fingerprints.chance import MOST_FALSE


class SongsConfig(BaseModel):
    """One search; only `warehouse` is needed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    warehouse: str = Field(min_length=1, description="folder or s3:// prefix of the tables")
    run_id: str = Field(default_factory=new_run_id, description="name of the run")
    most_false: float = Field(
        default=MOST_FALSE, gt=0, description="matches that chance may give a track, for a match to be believed"
    )
    again: bool = Field(default=False, description="search all shows for all songs, whatever was searched before")
    deepen: bool = Field(
        default=True, description="hear songs whole of which the tagging pass heard parts, where there are shows"
    )
    ray_address: str | None = Field(
        default=None, description="Ray cluster to use; by default RAY_ADDRESS, or this machine without Ray"
    )
    processes: int | None = Field(default=None, ge=1, description="processes on this machine; by default one per CPU")

    @field_validator("warehouse")
    @classmethod
    def _is_absolute(cls, value: str) -> str:
        return absolute(value)

    @field_validator("run_id")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        return require_run_id(value)


def make_songs_config(**values: Any) -> SongsConfig:
    """A `SongsConfig` from keyword arguments; None stands for "not given"; `UsageError` for what is not allowed."""
    return validated(SongsConfig, {key: value for key, value in values.items() if value is not None}, place="")


def load_songs_config(path: str | PathLike[str], *, overrides: Mapping[str, Any] | None = None) -> SongsConfig:
    """Read a search's YAML file, as `tagging.config.load_config`."""
    values = load_yaml(path, overrides=overrides, example="warehouse: s3://bucket/tags")
    return validated(SongsConfig, values, place=f"{path}: ")
