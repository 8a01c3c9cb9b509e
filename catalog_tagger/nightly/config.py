"""The configuration of a night; a YAML file holds the same keys."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from catalog_tagger.configuration import absolute, load_yaml, require_run_id, validated
from catalog_tagger.reconcile.config import ReconcileConfig
from catalog_tagger.songs.config import SongsConfig
from catalog_tagger.tables.iceberg import NAMESPACE
from catalog_tagger.tagging.config import TagConfig

#: keys that each part takes from the whole
_SHARED: Final = ("warehouse", "ray_address")


class ReportPart(BaseModel):
    """The page that is written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    out: str | None = Field(
        default=None, description="file or s3:// key; by default reports/<run>.html of the warehouse"
    )
    flags: int = Field(default=5000, ge=0, description="most flags on the page")
    grams: int = Field(default=300, ge=0, description="flags whose evidence is drawn")


class IcebergPart(BaseModel):
    """The catalogue that runs are registered in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    catalog: str | None = Field(
        default=None, description="of PyIceberg's configuration; by default SQLite in the warehouse"
    )
    properties: dict[str, str] = Field(default_factory=dict, description="PyIceberg's own, such as type and uri")
    namespace: str = Field(default=NAMESPACE, description="where the tables are")


class NightlyConfig(BaseModel):
    """One night; `source` and `warehouse` are the only keys needed. A part that is false is left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = Field(min_length=1, description="catalogue, as of TagConfig")
    warehouse: str = Field(min_length=1, description="folder or s3:// prefix of the tables")
    night: str | None = Field(
        default=None, description="its name; by default the newest that is not done, or a new one"
    )
    ray_address: str | None = Field(
        default=None, description="Ray cluster of all parts; by default RAY_ADDRESS or local"
    )
    tag: dict[str, Any] = Field(default_factory=dict, description="further keys of TagConfig")
    songs: dict[str, Any] | Literal[False] = Field(default_factory=dict, description="further keys of SongsConfig")
    reconcile: dict[str, Any] | Literal[False] = Field(
        default=False, description="keys of ReconcileConfig; metadata is needed"
    )
    report: ReportPart | Literal[False] = Field(default_factory=ReportPart, description="the page; keys of ReportPart")
    iceberg: IcebergPart | Literal[False] = Field(default=False, description="keys of IcebergPart")
    prune_after_days: float | None = Field(default=None, ge=0, description="age at which runs nobody needs are removed")
    webhook: str | None = Field(default=None, pattern=r"https?://", description="URL that the summary is posted to")

    @field_validator("source", "warehouse")
    @classmethod
    def _is_absolute(cls, value: str) -> str:
        return absolute(value)

    @field_validator("night")
    @classmethod
    def _is_a_name(cls, value: str | None) -> str | None:
        return None if value is None else require_run_id(value)

    @model_validator(mode="after")
    def _parts_are_right(self) -> NightlyConfig:
        """A bad key is said now, not in the middle of the night."""
        self.tag_config()
        self.songs_config()
        self.reconcile_config()
        return self

    def tag_config(self) -> TagConfig:
        """Of the tagging pass."""
        return validated(TagConfig, {**self._shared(), "source": self.source, **self.tag}, place="tag: ")

    def songs_config(self) -> SongsConfig | None:
        """Of the search for songs."""
        return (
            None if self.songs is False else validated(SongsConfig, {**self._shared(), **self.songs}, place="songs: ")
        )

    def reconcile_config(self) -> ReconcileConfig | None:
        """Of the comparison with the metadata."""
        if self.reconcile is False:
            return None
        return validated(ReconcileConfig, {**self._shared(), **self.reconcile}, place="reconcile: ")

    def _shared(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in _SHARED}


def load_nightly_config(path: str | PathLike[str], *, overrides: Mapping[str, Any] | None = None) -> NightlyConfig:
    """Read a night's YAML file, as `tagging.config.load_config`."""
    values = load_yaml(path, overrides=overrides, example="source: s3://bucket/audio")
    return validated(NightlyConfig, values, place=f"{path}: ")
