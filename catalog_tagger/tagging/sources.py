"""A SOURCE, whatever its kind, to one table of tracks.

Kinds, told apart by name:

- manifest: ``*.csv`` or ``*.parquet`` with ``track_id`` and ``uri`` (relative ones start at the
  manifest's folder) and optionally ``etag`` and ``size_bytes``; other columns are left alone;
- tar files: ``*.tar``, a pattern such as ``shards/*.tar``, or a folder with tar files: every audio
  member is a track; members with other extensions (a WebDataset's ``.json``, ``.txt``, ...) are not;
- folder or ``s3://`` prefix: every object with an audio extension is a track; names that start with a
  dot (a Mac leaves a ``._song.mp3`` beside every song) are not.

Without a manifest a track's id is its uri relative to the source. A member of a tar is written
``<tar>#<member>``, in manifests too.

Failure rule: a source that cannot be listed, a manifest without a needed column, an empty or a
duplicate ``track_id`` is one `UsageError` or `StorageError`, before anything is started. An object
that is missing or broken is a matter of its own track later.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from catalog_tagger.errors import StorageError, UsageError
from catalog_tagger.storage import ObjectInfo, Store, explained

AUDIO_EXTENSIONS: Final = frozenset(
    {
        *("mp3", "mp2", "m4a", "m4b", "mp4", "aac", "flac", "ogg", "oga", "opus"),
        *("wav", "wave", "w64", "aif", "aiff", "aifc", "wma", "asf"),
    }
)

#: `offset`: of the audio within `container`, where that is a tar, else null; `fault`: what is wrong with a
#: damaged tar, whose row is quarantined as it is
TRACK_LIST: Final = pa.schema(
    [
        pa.field("track_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("etag", pa.string()),
        pa.field("size_bytes", pa.int64()),
        pa.field("container", pa.string()),
        pa.field("offset", pa.int64()),
        pa.field("fault", pa.string()),
    ]
)

#: fetched per header of a tar in object storage: small beside a track, enough for long names
_HEADER_BYTES: Final = 1 << 16
_MANIFESTS: Final = (".csv", ".parquet")


def list_tracks(source: str) -> pa.Table:
    """Every track of a source, in the order of the source.

    Returns
    -------
    pa.Table
        Columns of `TRACK_LIST`; ``track_id`` is unique.

    Raises
    ------
    UsageError, StorageError
        As the module's docstring says.
    """
    lowered = source.lower()
    if lowered.endswith(_MANIFESTS):
        tracks = _from_manifest(source)
    elif "*" in source or "?" in source:
        tracks = _from_objects(_matching(source), base=_pattern_base(source))
    elif lowered.endswith(".tar"):
        store, name = _parent(source)
        with explained(source):
            tracks = _from_objects([store.info(name)], base=store.uri)
    else:
        store = Store(source)
        found = store.walk()
        if not found and store.is_local and not store.exists(""):
            raise UsageError(f"{source}: no such file or folder")
        if [info.uri for info in found] == [store.uri]:
            raise UsageError(
                f"{source}: a single file; SOURCE is a folder, an s3:// prefix, a manifest "
                f"({', '.join(_MANIFESTS)}) or .tar files"
            )
        tracks = _from_objects(found, base=store.uri)
    if tracks.num_rows == 0:
        raise UsageError(f"{source}: no tracks found; audio files end in {', '.join(sorted(AUDIO_EXTENSIONS))}")
    _require_unique(tracks, source)
    return tracks


def _parent(source: str) -> tuple[Store, str]:
    """A file as (store of its folder, name)."""
    folder, _, name = source.rstrip("/").rpartition("/")
    return Store(folder or ("/" if source.startswith("/") else ".")), name


def _pattern_base(pattern: str) -> str:
    """The folder above the first wildcard, as listings write it."""
    cut = min(pattern.index(sign) for sign in "*?" if sign in pattern)
    folder = pattern[:cut].rpartition("/")[0]
    return Store(folder or ("/" if pattern.startswith("/") else ".")).uri


def _matching(pattern: str) -> list[ObjectInfo]:
    store = Store(_pattern_base(pattern))
    with explained(pattern):
        names = sorted(store.fs.glob(store.fs._strip_protocol(pattern)))
    prefix = len(store.root) + 1
    return [store.info(name[prefix:]) for name in names]


def _from_objects(found: Iterable[ObjectInfo], *, base: str) -> pa.Table:
    """Audio objects as tracks, and the audio members of tar objects as tracks."""
    rows: list[dict[str, Any]] = []
    tars = []
    for info in found:
        if info.uri.rpartition("/")[2].startswith("."):
            continue
        extension = info.uri.rpartition(".")[2].lower()
        if extension == "tar":
            tars.append(info)
        elif extension in AUDIO_EXTENSIONS:
            rows.append(
                {
                    "track_id": info.uri.removeprefix(base).lstrip("/"),
                    "uri": info.uri,
                    "etag": info.etag or None,
                    "size_bytes": info.size_bytes,
                }
            )
    with ThreadPoolExecutor(8) as pool:  # headers are many small reads; on object storage they wait
        for members in pool.map(lambda info: _members(info, base=base), tars):
            rows.extend(members)
    for row in rows:
        _require_unicode(row["uri"])
    return pa.Table.from_pylist(rows, schema=TRACK_LIST)


def _require_unicode(uri: str) -> None:
    """Names on a disk or in a tar may be any bytes; those of tables are text."""
    try:
        uri.encode()
    except UnicodeEncodeError:
        shown = uri.encode(errors="backslashreplace").decode()
        raise UsageError(f"{shown}: the name is not valid UTF-8; rename the file") from None


def _members(info: ObjectInfo, *, base: str) -> list[dict[str, Any]]:
    """The audio members of one tar, by its headers alone."""
    store, name = _parent(info.uri)
    rows: dict[str, dict[str, Any]] = {}
    try:
        with (
            store.open(name, ahead_bytes=_HEADER_BYTES) as file,
            tarfile.open(fileobj=file, mode="r:") as archive,
        ):
            for member in archive:
                if not member.isfile() or member.name.rpartition(".")[2].lower() not in AUDIO_EXTENSIONS:
                    continue
                uri = f"{info.uri}#{member.name}"
                rows[uri] = {  # a name that comes twice means the later one, as tar extracts it
                    "track_id": uri.removeprefix(base).lstrip("/"),
                    "uri": uri,
                    "etag": f"{info.etag}:{member.offset_data:x}+{member.size:x}",
                    "size_bytes": member.size,
                    "container": info.uri,
                    "offset": member.offset_data,
                }
            file.seek(archive.offset)  # tarfile ends without a word at a header that is damaged
            if any(file.read(tarfile.BLOCKSIZE)):
                raise tarfile.ReadError(f"damaged header at byte {archive.offset}")
    except tarfile.TarError as error:
        raise UsageError(f"{info.uri}: not a readable tar file ({error}); repair it or leave it out") from error
    return list(rows.values())


def _from_manifest(source: str) -> pa.Table:
    store, name = _parent(source)
    try:
        with store.open(name) as file:
            table = _read_manifest(source, file)
    except FileNotFoundError:
        raise UsageError(f"{source}: no such manifest") from None
    for column in TRACK_LIST.names:
        if table.column_names.count(column) > 1:
            raise UsageError(f"{source}: column {column!r} comes more than once; keep one")
    missing = [column for column in ("track_id", "uri") if column not in table.column_names]
    if missing:
        raise UsageError(
            f"{source}: column {missing[0]!r} is missing; it has {', '.join(table.column_names) or 'no columns'}"
        )
    columns: dict[str, Any] = {}
    for field in TRACK_LIST:
        if field.name in table.column_names and field.name not in ("container", "offset", "fault"):
            try:
                columns[field.name] = table[field.name].cast(field.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise UsageError(f"{source}: column {field.name!r} is not {field.type}: {error}") from error
    for column in ("track_id", "uri"):
        text = pc.utf8_trim_whitespace(pc.fill_null(columns[column], ""))
        empty = pc.index(pc.equal(text, ""), True).as_py()
        if empty >= 0:
            raise UsageError(f"{source}: row {empty + 1} has no {column}; every track needs one")
    uris = enumerate(columns["uri"].to_pylist(), start=1)
    columns["uri"] = pa.array([_absolute(uri, store, place=f"{source}: row {row}") for row, uri in uris], pa.string())
    rows = table.num_rows
    full = [columns.get(field.name, pa.nulls(rows, field.type)) for field in TRACK_LIST]
    return _located(pa.table(full, schema=TRACK_LIST))


def _read_manifest(source: str, file: Any) -> pa.Table:
    try:
        if source.lower().endswith(".parquet"):
            return pq.read_table(file)
        text = dict.fromkeys(("track_id", "uri", "etag"), pa.string())
        convert = pyarrow.csv.ConvertOptions(column_types=text, strings_can_be_null=False)
        return pyarrow.csv.read_csv(file, convert_options=convert)
    except (pa.ArrowInvalid, pa.ArrowException) as error:
        raise UsageError(f"{source}: not a readable manifest: {error}") from error


def _absolute(uri: str, store: Store, *, place: str) -> str:
    if "\x00" in uri or ("://" in uri and not uri.startswith(("s3://", "file://"))):
        raise UsageError(f"{place}: uri {uri!r} is neither a path nor s3://bucket/key")
    if uri.startswith("s3://"):
        return uri
    if uri.startswith("file://"):
        uri = unquote(uri.removeprefix("file://"))  # as pathlib writes them
    full = uri if uri.startswith("/") else store.uri_of(uri.removeprefix("./"))
    # keys of object storage are literal; local paths are listed without "..", "." and doubled slashes
    return full if full.startswith("s3://") else os.path.normpath(full)


def _located(tracks: pa.Table) -> pa.Table:
    """Fill in what a manifest leaves out: sizes and etags by listing, places of tar members by their headers.

    What is not found stays null; its track is quarantined when its turn comes.
    """
    rows = tracks.to_pylist()
    tars = sorted({uri.partition(".tar#")[0] + ".tar" for uri in (row["uri"] for row in rows) if ".tar#" in uri})
    members: dict[str, dict[str, Any]] = {}
    for tar in tars:
        store, name = _parent(tar)
        try:
            members.update((row["uri"], row) for row in _members(store.info(name), base=""))
        except FileNotFoundError:
            continue
    bare = [row for row in rows if None in (row["size_bytes"], row["etag"]) and ".tar#" not in row["uri"]]
    known = _listed({row["uri"] for row in bare})
    for row in rows:
        if ".tar#" in row["uri"]:
            row["container"] = row["uri"].partition(".tar#")[0] + ".tar"
            member = members.get(row["uri"])
            if member is not None:
                row.update({key: member[key] for key in ("size_bytes", "container", "offset")})
                row["etag"] = row["etag"] or member["etag"]
        elif (info := known.get(row["uri"])) is not None:
            row["size_bytes"] = info.size_bytes if row["size_bytes"] is None else row["size_bytes"]
            row["etag"] = row["etag"] or info.etag or None
    return pa.Table.from_pylist(rows, schema=TRACK_LIST)


def _listed(uris: set[str]) -> dict[str, ObjectInfo]:
    """Size and etag of the objects that exist: one listing per folder, not one request per object."""
    folders = sorted({uri.rpartition("/")[0] for uri in uris})

    def listing(folder: str) -> list[ObjectInfo]:
        try:
            store = Store(folder)
            with explained(folder, missing_is_error=False):
                entries = store.fs.ls(store.root, detail=True)
        except FileNotFoundError:
            return []
        except StorageError as error:
            if isinstance(error.__cause__, NotADirectoryError):
                return []
            raise
        return [store._info(entry) for entry in entries if entry["type"] == "file"]

    with ThreadPoolExecutor(16) as pool:
        found = [info for infos in pool.map(listing, folders) for info in infos]
    return {info.uri: info for info in found if info.uri in uris}


def _require_unique(tracks: pa.Table, source: str) -> None:
    counts = pc.value_counts(tracks["track_id"])
    if len(counts) == tracks.num_rows:
        return
    value = next(entry["values"].as_py() for entry in counts if entry["counts"].as_py() > 1)
    rows = [index + 1 for index, found in enumerate(tracks["track_id"].to_pylist()) if found == value]
    places = ", ".join(map(str, rows[:3]))
    raise UsageError(f"{source}: duplicate track_id {value!r} in rows {places}; every track needs its own")
