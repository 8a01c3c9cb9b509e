"""A SOURCE, whatever its kind, to one table of tracks.

Kinds, told apart by name:

- manifest: ``*.csv`` or ``*.parquet``, as `manifests` says;
- tar files: ``*.tar``, a pattern such as ``shards/*.tar``, or a folder with tar files: every audio
  member is a track, as `tars` says; members with other extensions (a WebDataset's ``.json``, ``.txt``,
  ...) are not;
- folder or ``s3://`` prefix: every object with an audio extension is a track; names that start with a
  dot (a Mac leaves a ``._song.mp3`` beside every song) are not.

Without a manifest a track's id is its uri relative to the source. A member of a tar is written
``<tar>#<member>``, in manifests too.

Failure rule: a source that cannot be listed, a manifest without a needed column, an empty or a
duplicate ``track_id``, a uri outside the roots is one `UsageError` or `StorageError`, before anything
is started. An object that is missing or broken, a damaged tar included, is a matter of its own track
later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from catalog_tagger.errors import UsageError
from catalog_tagger.storage import ObjectInfo, Store, explained
from catalog_tagger.tagging.manifests import EXTENSIONS, require_unique, tracks_of_manifest
from catalog_tagger.tagging.roots import first_outside
from catalog_tagger.tagging.tars import read_tars
from catalog_tagger.tagging.track_list import (
    AUDIO_EXTENSIONS,
    TRACK_LIST,
    extension_of,
    parent_of,
    require_unicode,
)


def list_tracks(source: str, *, roots: Sequence[str] = ()) -> pa.Table:
    """Every track of a source.

    Parameters
    ----------
    source
        A folder, an ``s3://`` prefix, a manifest, tar files.
    roots
        Folders and ``s3://`` prefixes outside of which no track may lie; none for what
        `manifests` allows by itself.

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
    if lowered.endswith(EXTENSIONS):
        tracks = tracks_of_manifest(source, roots=roots)
    else:
        tracks = _tracks_below(source)
        outside = first_outside(tracks["uri"], roots) if roots else None
        if outside is not None:
            raise UsageError(
                f"{source}: {tracks['uri'][outside].as_py()} lies outside the roots {', '.join(roots)}; "
                "choose another source or add its root"
            )
    if tracks.num_rows == 0:
        raise UsageError(f"{source}: no tracks found; audio files end in {', '.join(sorted(AUDIO_EXTENSIONS))}")
    require_unique(tracks["track_id"], source)
    return tracks


def _tracks_below(source: str) -> pa.Table:
    if "*" in source or "?" in source:
        return _from_objects(_matching(source), base=_pattern_base(source))
    if source.lower().endswith(".tar"):
        store, name = parent_of(source)
        with explained(source):
            return _from_objects([store.info(name)], base=store.uri)
    store = Store(source)
    found = store.walk()
    if not found and store.is_local and not store.exists(""):
        raise UsageError(f"{source}: no such file or folder")
    if [info.uri for info in found] == [store.uri]:
        raise UsageError(
            f"{source}: a single file; SOURCE is a folder, an s3:// prefix, a manifest "
            f"({', '.join(EXTENSIONS)}) or .tar files"
        )
    return _from_objects(found, base=store.uri)


def _pattern_base(pattern: str) -> str:
    """The folder above the first wildcard, as listings write it."""
    cut = min(pattern.index(sign) for sign in "*?" if sign in pattern)
    folder = pattern[:cut].rpartition("/")[0]
    return Store(folder or ("/" if pattern.startswith("/") else ".")).uri


def _matching(pattern: str) -> list[ObjectInfo]:
    store = Store(_pattern_base(pattern))
    with explained(pattern):
        names = sorted(store.fs.glob(pattern))
    prefix = len(store.root) + 1
    return [store.info(name[prefix:]) for name in names]


def _from_objects(found: Iterable[ObjectInfo], *, base: str) -> pa.Table:
    """Audio objects as tracks, and the audio members of tar objects as tracks."""

    def id_of(info: ObjectInfo) -> str:
        return info.uri.removeprefix(base).lstrip("/")

    files, tars = [], []
    for info in found:
        extension = extension_of(info.uri)
        if info.uri.rpartition("/")[2].startswith("."):
            continue
        if extension == "tar":
            tars.append(info)
        elif extension in AUDIO_EXTENSIONS:
            files.append(info)
    for info in (*files, *tars):
        require_unicode(info.uri)
    columns = {
        "track_id": [id_of(info) for info in files],
        "uri": [info.uri for info in files],
        "etag": [info.etag or None for info in files],
        "size_bytes": [info.size_bytes for info in files],
    }
    nulls = {field.name: pa.nulls(len(files), field.type) for field in TRACK_LIST if field.name not in columns}
    own = pa.table({**columns, **nulls}, schema=TRACK_LIST)
    return pa.concat_tables([own, *(tar.tracks(track_id=id_of(tar.info)) for tar in read_tars(tars))])
