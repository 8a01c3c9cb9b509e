"""A manifest to a table of tracks, in whole columns: a catalogue has millions of rows.

A manifest is ``*.csv`` (UTF-8, commas) or ``*.parquet`` with the columns ``track_id`` and ``uri`` and
optionally ``etag`` and ``size_bytes``; other columns are not read. A uri is a path or an ``s3://`` key,
relative to the manifest's folder, or ``shard.tar#member.mp3``. A row that names a tar alone stands for
its audio members, which are called ``<track_id>#<member>``, as in a folder.

What a manifest leaves out is looked up: sizes and etags by one listing per folder, or by name where few
objects of a prefix are meant; members of tars by the tars' headers. What is not found stays null, and its
track is quarantined when its turn comes; a member that is not found in a damaged tar carries the tar's
fault.

A manifest may be written by others than those who run the job. With roots, all of its uris lie below
one of them. Without, a manifest in object storage names objects alone: it must not make the machines
that tag read files of their own. A local manifest may name anything.

Failure rule: whatever is wrong with a manifest is one `UsageError` that names it, the row and the value.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import IO, Any, Final
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from catalog_tagger.errors import StorageError, UsageError
from catalog_tagger.storage import ObjectInfo, Store, explained
from catalog_tagger.tagging.roots import NOT_NORMAL, first_outside
from catalog_tagger.tagging.tars import MEMBERS, Tar, read_tars
from catalog_tagger.tagging.track_list import TRACK_LIST, are_members, parent_of, tars_of

EXTENSIONS: Final = (".csv", ".parquet")
_NEEDED: Final = ("track_id", "uri")
_COLUMNS: Final = (*_NEEDED, "etag", "size_bytes")
#: between a tar and its member
_OF_A_TAR: Final = re.compile(r"(?<=\.tar)(?=#)", re.IGNORECASE)
_LISTING_THREADS: Final = 16
#: objects that cost fewer requests by name than by a listing, whose pages have 1 000, if their prefix is large
_FEW_OF_A_FOLDER: Final = 50
#: so many small prefixes are told apart from few large ones: by a listing each
_FEW_IN_ALL: Final = 2_000


def tracks_of_manifest(source: str, *, roots: Sequence[str]) -> pa.Table:
    """The tracks that a manifest names, in its order but for those of tars named as a whole, which follow.

    Raises
    ------
    UsageError, StorageError
        As the module's docstring says.
    """
    store, name = parent_of(source)
    try:
        with store.open(name) as file:
            columns = _read(source, file)
    except FileNotFoundError:
        raise UsageError(f"{source}: no such manifest") from None
    return tracks_of_rows(columns, store, source=source, roots=roots)


def tracks_of_rows(columns: dict[str, pa.ChunkedArray], store: Store, *, source: str, roots: Sequence[str]) -> pa.Table:
    """As `tracks_of_manifest`, from the columns of a manifest called `source` in the folder `store`."""
    for column in _NEEDED:
        text = pc.utf8_trim_whitespace(pc.fill_null(columns[column], ""))
        empty = pc.index(pc.equal(text, ""), True).as_py()
        if empty >= 0:
            raise UsageError(f"{source}: row {empty + 1} has no {column}; every track needs one")
    given = columns["uri"]
    columns["uri"] = _absolute(given, store, source=source)
    _require_allowed(columns["uri"], given, store, source=source, roots=roots)
    if "etag" in columns:
        columns["etag"] = pc.if_else(pc.equal(columns["etag"], ""), None, columns["etag"])
    rows = len(given)
    full = [columns.get(field.name, pa.nulls(rows, field.type)) for field in TRACK_LIST]
    tracks = pa.table(full, schema=TRACK_LIST)
    require_unique(tracks["track_id"], source)
    return _located(tracks)


def require_unique(ids: pa.ChunkedArray, source: str) -> None:
    """Refuse a list in which two tracks have one id."""
    if pc.count_distinct(ids).as_py() == len(ids):
        return
    counts = pc.value_counts(ids)
    twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    value = twice[0].as_py()
    places = ", ".join(str(row + 1) for row in np.flatnonzero(pc.equal(ids, value).to_numpy())[:3])
    raise UsageError(f"{source}: duplicate track_id {value!r} in rows {places}; every track needs its own")


def _read(source: str, file: IO[bytes]) -> dict[str, pa.ChunkedArray]:
    """The columns of `_COLUMNS` that a manifest has, in their types."""
    try:
        names, read = _open_parquet(file) if source.lower().endswith(".parquet") else _open_csv(file)
        for column in _COLUMNS:
            if names.count(column) > 1:
                raise UsageError(f"{source}: column {column!r} comes more than once; keep one")
        missing = [column for column in _NEEDED if column not in names]
        if missing:
            has = ", ".join(names) or "no columns"
            raise UsageError(f"{source}: column {missing[0]!r} is missing; it has {has}")
        table = read([column for column in _COLUMNS if column in names])
    except pa.ArrowException as error:
        raise UsageError(f"{source}: not a readable manifest: {error}") from error
    columns = {}
    for column in table.column_names:
        kind = TRACK_LIST.field(column).type
        try:
            columns[column] = table[column].cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise UsageError(f"{source}: column {column!r} is not {kind}: {error}") from error
    return columns


_Opened = tuple[list[str], Callable[[list[str]], pa.Table]]


def _open_parquet(file: IO[bytes]) -> _Opened:
    parquet = pq.ParquetFile(file)
    return list(parquet.schema_arrow.names), lambda columns: parquet.read(columns=columns)


def _open_csv(file: IO[bytes]) -> _Opened:
    text = dict.fromkeys(("track_id", "uri", "etag"), pa.string())

    def options(**more: Any) -> pyarrow.csv.ConvertOptions:
        return pyarrow.csv.ConvertOptions(column_types=text, strings_can_be_null=False, **more)

    # the first block alone, for the names; the reader would close the file with itself
    head = file.read(1 << 20)
    line = head.partition(b"\n")[0] + b"\n"
    names = list(pyarrow.csv.read_csv(pa.py_buffer(line), convert_options=options()).column_names)
    file.seek(0)
    return names, lambda columns: pyarrow.csv.read_csv(file, convert_options=options(include_columns=columns))


def _replaced(values: pa.ChunkedArray, rows: pa.ChunkedArray, change: Callable[[str], str]) -> pa.ChunkedArray:
    """`values` with `change` made to some rows, few ones."""
    chunks, at = [], 0
    for chunk in values.chunks:  # whole columns may pass the 2 GB of text that one array holds
        mask = rows.slice(at, len(chunk)).combine_chunks()
        at += len(chunk)
        if pc.any(mask).as_py():
            changed = [change(value) for value in chunk.filter(mask).to_pylist()]
            chunks.append(pc.replace_with_mask(chunk, mask, pa.array(changed, pa.string())))
        else:
            chunks.append(chunk)
    return pa.chunked_array(chunks, pa.string())


def _absolute(given: pa.ChunkedArray, store: Store, *, source: str) -> pa.ChunkedArray:
    """Uris as lists of tracks hold them; relative ones start at the manifest's folder."""
    in_s3 = pc.starts_with(given, "s3://")
    as_file = pc.starts_with(given, "file://")
    foreign = pc.and_not(pc.match_substring(given, "://"), pc.or_(in_s3, as_file))
    uris = _replaced(given, as_file, lambda uri: unquote(uri.removeprefix("file://")))  # as pathlib writes them
    bad = pc.index(pc.or_(foreign, pc.match_substring(uris, "\x00")), True).as_py()
    if bad >= 0:
        raise UsageError(f"{source}: row {bad + 1}: uri {given[bad].as_py()!r} is neither a path nor s3://bucket/key")
    relative = pc.invert(pc.or_(in_s3, pc.starts_with(uris, "/")))
    below = pc.replace_substring_regex(uris, r"^\./", "")
    uris = pc.if_else(relative, pc.binary_join_element_wise(store.uri_of("x")[:-1], below, ""), uris)
    # keys of object storage and names within a tar are literal; local paths are listed without "..", "." and
    # doubled slashes
    odd = pc.and_(pc.starts_with(uris, "/"), pc.match_substring_regex(tars_of(uris), NOT_NORMAL))
    return _replaced(uris, odd, _normal)


def _normal(uri: str) -> str:
    """A local uri without ``.``, ``..`` and doubled slashes in the path of its file or tar."""
    path = _OF_A_TAR.split(uri, maxsplit=1)[0]
    return os.path.normpath(path) + uri[len(path) :]


def _require_allowed(
    uris: pa.ChunkedArray, given: pa.ChunkedArray, store: Store, *, source: str, roots: Sequence[str]
) -> None:
    if roots:
        outside = first_outside(uris, roots)
        if outside is not None:
            raise UsageError(
                f"{source}: row {outside + 1}: uri {given[outside].as_py()!r} lies outside the roots "
                f"{', '.join(roots)}; correct it or add its root"
            )
    elif not store.is_local:
        local = pc.index(pc.starts_with(uris, "s3://"), False).as_py()
        if local >= 0:
            raise UsageError(
                f"{source}: row {local + 1}: uri {given[local].as_py()!r} is a path, and a manifest in object storage "
                "may name paths of the machines that tag only where roots allow it; set roots"
            )


def _located(tracks: pa.Table) -> pa.Table:
    """Fill in what a manifest leaves out."""
    uris = tracks["uri"]
    as_member = are_members(uris)
    as_tar = pc.and_not(pc.ends_with(uris, ".tar", ignore_case=True), as_member)
    of_member = tars_of(uris.filter(as_member))
    wanted = pc.unique(pa.chunked_array([*of_member.chunks, *uris.filter(as_tar).chunks], pa.string()))
    tars = {tar.info.uri: tar for tar in read_tars(_existing(wanted.to_pylist()))}
    if pc.any(as_member).as_py():
        tracks = _with_members(tracks, as_member, tars)
    tracks = _with_listings(tracks, pc.or_(as_member, as_tar))
    whole = tracks.filter(as_tar)
    if whole.num_rows == 0:
        return tracks
    found = [
        tars[uri].tracks(track_id=track_id) if uri in tars else whole.slice(row, 1)
        for row, (track_id, uri) in enumerate(zip(whole["track_id"].to_pylist(), whole["uri"].to_pylist(), strict=True))
    ]
    return pa.concat_tables([tracks.filter(pc.invert(as_tar)), *found])


def _existing(tars: list[str]) -> list[ObjectInfo]:
    def look(tar: str) -> ObjectInfo | None:
        store, name = parent_of(tar)
        try:
            return store.info(name)
        except FileNotFoundError:
            return None

    with ThreadPoolExecutor(_LISTING_THREADS) as pool:
        return [info for info in pool.map(look, tars) if info is not None]


def _with_members(tracks: pa.Table, as_member: pa.ChunkedArray, tars: dict[str, Tar]) -> pa.Table:
    """Places, sizes and etags of tar members; the fault of their tar for those that are lost in it."""
    uris = tracks["uri"]
    members = pa.concat_tables([MEMBERS.empty_table(), *(tar.members for tar in tars.values())]).combine_chunks()
    at = pc.index_in(uris, value_set=members["uri"])
    container = pc.if_else(as_member, tars_of(uris), None)
    damaged = {uri: tar.fault for uri, tar in tars.items() if tar.fault is not None}
    faults = pa.array([f"damaged tar: {fault}" for fault in damaged.values()], pa.string())
    fault = faults.take(_combined(pc.index_in(container, value_set=pa.array(damaged, pa.string()))))
    at = _combined(at)
    columns = {
        "etag": pc.coalesce(tracks["etag"], members["etag"].take(at)),
        "size_bytes": pc.if_else(pc.is_valid(at), members["size_bytes"].take(at), tracks["size_bytes"]),
        "container": container,
        "offset": members["offset"].take(at),
        "fault": pc.if_else(pc.is_valid(at), None, fault),
    }
    return _with(tracks, columns)


def _with_listings(tracks: pa.Table, settled: pa.ChunkedArray) -> pa.Table:
    """Sizes and etags of the objects that exist, where the manifest does not say them."""
    lacking = pc.or_(pc.is_null(tracks["size_bytes"]), pc.is_null(tracks["etag"]))
    bare = pc.and_not(lacking, settled)
    if not pc.any(bare).as_py():
        return tracks
    known = _found(tracks["uri"].filter(bare))
    at = _combined(pc.if_else(bare, pc.index_in(tracks["uri"], value_set=known["uri"]), None))
    columns = {name: pc.coalesce(tracks[name], known[name].take(at)) for name in ("etag", "size_bytes")}
    return _with(tracks, columns)


def _combined(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _with(tracks: pa.Table, columns: dict[str, Any]) -> pa.Table:
    return pa.table({name: columns.get(name, tracks[name]) for name in TRACK_LIST.names}).cast(TRACK_LIST)


def _found(uris: pa.ChunkedArray) -> pa.Table:
    """Uri, size and etag of those of these files that exist.

    One listing for each folder, not one request per object. But a prefix of object storage may hold millions
    beside the few that are meant: those are asked for by name, as long as they are few in all.
    """
    listed: dict[str, list[str]] = defaultdict(list)
    for uri in chain.from_iterable(chunk.to_pylist() for chunk in uris.chunks):
        listed[uri.rpartition("/")[0]].append(uri)
    few = {name for name, wanted in listed.items() if name.startswith("s3://") and len(wanted) <= _FEW_OF_A_FOLDER}
    asked: list[str] = []
    if sum(len(listed[name]) for name in few) <= _FEW_IN_ALL:
        asked = [uri for name in few for uri in listed.pop(name)]

    def listing(name: str) -> list[ObjectInfo]:
        wanted = set(listed[name])
        return _files_at(name or "/", lambda store: store.fs.ls(store.root, detail=True), wanted)

    def asking(uri: str) -> list[ObjectInfo]:
        try:
            return _files_at(uri, lambda store: [store.fs.info(store.root)], {uri})
        except StorageError as error:
            if error.systemic or error.transient:
                raise
            return []  # a key that this store refuses is the matter of its own track

    with ThreadPoolExecutor(_LISTING_THREADS) as pool:
        found = [info for infos in (*pool.map(listing, listed), *pool.map(asking, asked)) for info in infos]
    columns = {
        "uri": [info.uri for info in found],
        "size_bytes": [info.size_bytes for info in found],
        "etag": [info.etag or None for info in found],
    }
    return pa.table(columns, schema=pa.schema([TRACK_LIST.field(name) for name in columns]))


def _files_at(place: str, entries: Callable[[Store], list[dict[str, Any]]], wanted: set[str]) -> list[ObjectInfo]:
    """Those of the wanted files that a store tells of; none where there is no such place."""
    store = Store(place)
    try:
        with explained(place, missing_is_error=False):
            found = entries(store)
    except FileNotFoundError:
        return []
    except StorageError as error:
        if isinstance(error.__cause__, NotADirectoryError):
            return []
        raise
    scheme = "" if store.is_local else "s3://"
    return [store._info(one) for one in found if one["type"] == "file" and f"{scheme}{one['name']}" in wanted]
