"""How a run's files become visible, whole or not at all.

Layout of a warehouse::

    runs/<run>/lease/<n>.json  who is working on the run (`lease`)
    runs/<run>/plan-<hash>/    the planned tracks (`tagging.plan`), called by what they are
    runs/<run>/job.json        source, bundles, configuration and plan of the run, which has begun once this is there
    segments/run_id=<run>/<shard>.parquet, fingerprints/...
    tracks/run_id=<run>/<shard>.parquet     written after the other tables: its presence ends the shard
    runs/<run>/removed.parquet tracks that the source no longer lists, where there are any
    runs/<run>/manifest.json   written last, once: counts, and every file with its rows and size
    commits/<run>.parquet      the run as a row, for engines that read whole folders (`published`)

A file's name is made of its shard alone (or of the part of it, `tagging.pieces`) and it is put whole, so
a retry replaces it with the same rows. A run without ``manifest.json`` does not exist for readers. The
footer of a ``tracks`` file carries the shard's summary under the key ``catalog_tagger``, so that a
resumed run can account for shards it did not do.

Runs that search for songs or reconcile have no plan and no shards: their tables are one file each, and
``manifest.json`` says of which kind they are.

Failure rule: whatever dies, finished shards stay and nothing half-written can be read; what an
unfinished shard left behind is overwritten by its retry. A shard with a missing or damaged file is done
again.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from catalog_tagger.errors import RunError, StorageError, UsageError
from catalog_tagger.storage import Store
from catalog_tagger.tables.schemas import TABLES_OF

TAG: Final = "tag"

_FOOTER_KEY: Final = b"catalog_tagger"
#: sorted numbers take half as much as their differences
_ENCODINGS: Final[dict[str, dict[str, Any]]] = {
    "fingerprints": {
        "use_dictionary": ["track_id", "run_id"],
        "column_encoding": {"peaks.list.element": "DELTA_BINARY_PACKED", "start_s": "BYTE_STREAM_SPLIT"},
    }
}
_FOOTER_BYTES: Final = 1 << 16
_READERS: Final = 16


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One committed Parquet file."""

    table: str
    name: str
    """Relative to the warehouse."""
    rows: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class ShardSummary:
    """What one work shard came to."""

    shard: str
    tracks: int
    tagged: int
    quarantined: int
    segments: int
    audio_s: float
    quarantined_by_code: dict[str, int] = field(default_factory=dict)
    worker: str = ""
    """Node, process, device and GPU ids of the actor that did it."""
    wall_s: float = 0.0
    """From taking the shard up to having its rows."""
    size_bytes: int = 0
    """Encoded audio of its tracks."""
    heard: dict[str, dict[str, int]] = field(default_factory=dict)
    """Column of ``tracks`` -> what was heard -> tracks; a tag counts where it is expected in half of the track."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """One driver's stretch of work on a run."""

    driver: str
    """Host and process."""
    started_at: str
    last_seen_at: str
    """Its end, or its last sign of life."""
    nodes: int
    cpus: int
    gpus: int
    """Most of each at a time."""
    node_s: float = 0.0
    """Seconds of machine time: nodes that were there, added up over the session."""

    @property
    def wall_s(self) -> float:
        """Seconds that it lasted."""
        return (datetime.fromisoformat(self.last_seen_at) - datetime.fromisoformat(self.started_at)).total_seconds()


@dataclass(frozen=True, kw_only=True)
class RunManifest:
    """A committed run, as ``manifest.json`` holds it."""

    run_id: str
    started_at: str
    committed_at: str
    source: str
    bundles: list[str]
    versions: dict[str, str]
    config: dict[str, Any]
    tracks: int
    tagged: int
    quarantined: int
    segments: int
    audio_s: float
    wall_s: float
    up_to_date: int
    """Tracks of the source that were not planned because their current row was still valid."""
    quarantined_by_code: dict[str, int]
    workers: dict[str, int]
    """Worker -> shards it did."""
    files: list[FileEntry]
    size_bytes: int = 0
    """Encoded audio of the planned tracks."""
    removed: int = 0
    """Tracks that an earlier run of the same source had and this one no longer lists."""
    sessions: list[Session] = field(default_factory=list)
    heard: dict[str, dict[str, int]] = field(default_factory=dict)
    """As in `ShardSummary`, of all tracks."""
    kind: str = TAG
    """What the run did, a key of `schemas.TABLES_OF`; of another kind than `TAG` counts are of tracks looked at."""

    def to_json(self) -> bytes:
        """The file's bytes."""
        return json.dumps(asdict(self), indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes, *, place: str) -> RunManifest:
        """Read the file back.

        Raises
        ------
        StorageError
            The bytes are not a manifest of this product.
        """
        try:
            content = json.loads(data)
            content["files"] = [FileEntry(**entry) for entry in content["files"]]
            content["sessions"] = [Session(**entry) for entry in content.get("sessions", [])]
            return cls(**content)
        except (ValueError, TypeError, KeyError) as error:
            raise StorageError(f"{place}: not a run manifest ({error}); restore or remove the file") from error


def run_folder(run_id: str) -> str:
    """Folder of a run's own files, relative to the warehouse."""
    return f"runs/{run_id}"


def table_file(table: str, run_id: str, shard: str) -> str:
    """Name of a shard's file of one table, relative to the warehouse."""
    return f"{table}/run_id={run_id}/{shard}.parquet"


def write_shard(store: Store, *, run_id: str, summary: ShardSummary, tables: dict[str, pa.Table]) -> list[FileEntry]:
    """Write a shard's rows, ``tracks`` last, since its file is what ends the shard."""
    entries = []
    footer = {_FOOTER_KEY: json.dumps(asdict(summary)).encode()}
    for table in TABLES_OF[TAG]:
        name = table_file(table, run_id, summary.shard)
        entries.append(write_table(store, name, TAG, table, tables[table], footer=footer))
    return entries


def write_table(
    store: Store, name: str, kind: str, table: str, rows: pa.Table, *, footer: Mapping[bytes, bytes] | None = None
) -> FileEntry:
    """Write a table's rows as one file."""
    rows = rows.cast(TABLES_OF[kind][table])
    buffer = io.BytesIO()
    metadata = {**(rows.schema.metadata or {}), **(footer or {})}
    pq.write_table(rows.replace_schema_metadata(metadata), buffer, compression="zstd", **_ENCODINGS.get(table, {}))
    store.write(name, buffer.getbuffer())
    return FileEntry(table=table, name=name, rows=rows.num_rows, size_bytes=buffer.tell())


def finished_shards(store: Store, run_id: str) -> list[str]:
    """Names of the shards that a run has ended."""
    files = store.children(f"tracks/run_id={run_id}")
    return [name.removesuffix(".parquet") for name in files if name.endswith(".parquet")]


def read_shard(store: Store, run_id: str, shard: str) -> tuple[ShardSummary, list[FileEntry]] | None:
    """Account for a finished shard from the footers of its files.

    None where a file is missing or damaged, or where the files come from two attempts: the later one died
    between them, and its rows may differ (a decoder that was too slow once, say).
    """
    entries, summaries = [], []
    for table in TABLES_OF[TAG]:
        name = table_file(table, run_id, shard)
        try:
            with store.open(name, ahead_bytes=_FOOTER_BYTES) as file:
                size = file.seek(0, io.SEEK_END)
                footer = _footer(file)
        except FileNotFoundError:
            return None
        if footer is None:
            return None
        summaries.append(footer[1])
        entries.append(FileEntry(table=table, name=name, rows=footer[0], size_bytes=size))
    return (summaries[0], entries) if all(summary == summaries[0] for summary in summaries) else None


def _footer(file: IO[bytes]) -> tuple[int, ShardSummary] | None:
    """(rows, summary) of a shard's file; None where it is damaged or not one."""
    try:
        footer = pq.ParquetFile(file).metadata
        return footer.num_rows, ShardSummary(**json.loads(footer.metadata[_FOOTER_KEY]))
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError):  # Arrow calls damage an OSError, too
        return None


def read_shards(store: Store, run_id: str) -> dict[str, tuple[ShardSummary, list[FileEntry]]]:
    """Every finished shard of a run that can be accounted for."""
    names = finished_shards(store, run_id)
    with ThreadPoolExecutor(_READERS) as pool:  # two small reads per shard: on object storage they wait
        found = pool.map(lambda name: read_shard(store, run_id, name), names)
        return {name: shard for name, shard in zip(names, found, strict=True) if shard is not None}


def commit_run(store: Store, manifest: RunManifest) -> bool:
    """Make a run visible; False where somebody else has done so before.

    Raises
    ------
    RunError
        A file of the manifest is not there: another driver of the same run has swept it away.
    """
    if read_manifest(store, manifest.run_id) is not None:
        return False
    there = {f"{folder}/{name}" for folder in _folders(manifest) for name in store.children(folder)}
    gone = [file.name for file in manifest.files if file.name not in there]
    if gone:
        raise RunError(f"{store.uri_of(gone[0])}: gone; run it again with --run-id {manifest.run_id}")
    if not store.create(f"{run_folder(manifest.run_id)}/manifest.json", manifest.to_json()):
        return False
    sweep_run(store, manifest)
    return True


def sweep_run(store: Store, manifest: RunManifest) -> None:
    """Remove files of a committed run that its manifest does not list, and what killed writers left.

    Rows that another driver, or an actor that was taken for dead, wrote once more would be seen by engines
    that read whole folders. This comes after the commit: before it nobody knows whose files will count.
    """
    listed = {file.name for file in manifest.files}
    for folder in _folders(manifest):
        for name in store.children(folder):
            if f"{folder}/{name}" not in listed:
                store.remove(f"{folder}/{name}")
        store.sweep(folder)
    run = run_folder(manifest.run_id)
    for folder in (run, f"{run}/lease", *(f"{run}/{name}" for name in store.children(run) if "." not in name)):
        store.sweep(folder)


def _folders(manifest: RunManifest) -> list[str]:
    return [f"{table}/run_id={manifest.run_id}" for table in TABLES_OF[manifest.kind]]


def read_manifest(store: Store, run_id: str) -> RunManifest | None:
    """A committed run; None where the run is unfinished or unknown."""
    name = f"{run_folder(run_id)}/manifest.json"
    try:
        return RunManifest.from_json(store.read(name), place=store.uri_of(name))
    except FileNotFoundError:
        return None


def require_warehouse(store: Store) -> None:
    """Make sure that some run has begun at a place.

    Raises
    ------
    UsageError
        There is no warehouse.
    """
    if not store.children("runs"):
        raise UsageError(f"{store.uri}: no warehouse here; make one with: catalog-tagger tag SOURCE --warehouse W")


def committed_runs(store: Store) -> list[RunManifest]:
    """Every committed run, oldest commit first."""
    found = (read_manifest(store, run_id) for run_id in store.children("runs"))
    return sorted((run for run in found if run is not None), key=lambda run: (run.committed_at, run.run_id))


def unfinished_runs(store: Store) -> list[str]:
    """Runs that were started and neither committed nor removed."""
    contents = ((run_id, store.children(run_folder(run_id))) for run_id in store.children("runs"))
    return [run_id for run_id, names in contents if "job.json" in names and "manifest.json" not in names]
