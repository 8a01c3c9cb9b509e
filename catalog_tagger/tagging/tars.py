"""The audio members of tar files, by their headers alone; nothing is ever extracted.

A member is written ``<tar>#<member>``; its name is only a name, be it absolute or full of ``..``. Its
etag is ``<etag of the tar>:<offset>+<size>`` in hexadecimal, so a replaced tar has new members.

Failure rule: a tar that is cut short, damaged or no tar at all does not stop a plan. Members whose
bytes are all there are tracks; the tar gets one row of its own, whose ``fault`` says what is wrong and
at which byte, and which is quarantined as ``damaged_tar``: it stands for the members that are lost.
Headers are hostile input: what they claim is neither allocated nor followed backwards.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Final

import pyarrow as pa
import pyarrow.compute as pc

from catalog_tagger.etags import member_etag
from catalog_tagger.storage import ObjectInfo
from catalog_tagger.tagging.track_list import (
    AUDIO_EXTENSIONS,
    TRACK_LIST,
    extension_of,
    parent_of,
    require_unicode,
)

#: `TRACK_LIST` but for the id, which depends on what the tar is called
MEMBERS: Final = pa.schema([field for field in TRACK_LIST if field.name != "track_id"])

#: fetched per header of a tar in object storage: small beside a track, enough for long names
_HEADER_BYTES: Final = 1 << 16
#: a long name or a set of attributes is held in memory while it is read
_MOST_NAME_BYTES: Final = 1 << 16
_THREADS: Final = 8
_NAME_TYPES: Final = frozenset(
    {
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
    }
)


@dataclass(frozen=True, kw_only=True)
class Tar:
    """What a tar holds."""

    info: ObjectInfo
    members: pa.Table
    """Columns of `TRACK_LIST` but `track_id`; uris are unique."""
    fault: str | None
    """What is wrong with it and where; None for a whole tar."""

    def tracks(self, *, track_id: str) -> pa.Table:
        """Tracks of a tar that is itself called `track_id`: its members, and itself where it is damaged."""
        names = pc.utf8_slice_codeunits(self.members["uri"], len(self.info.uri))
        ids = pc.binary_join_element_wise(track_id, names, "")
        tracks = self.members.add_column(0, TRACK_LIST.field("track_id"), ids).cast(TRACK_LIST)
        if self.fault is None:
            return tracks
        row = {"track_id": track_id, "uri": self.info.uri, "etag": self.info.etag or None, "size_bytes": 0}
        own = pa.Table.from_pylist([{**row, "fault": self.fault}], schema=TRACK_LIST)
        return pa.concat_tables([tracks, own])


class _Header(tarfile.TarInfo):
    """A header that is not believed when it asks for memory, or for a step back, which would never end."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo | None:
        if self.size < 0 or (self.type in _NAME_TYPES and self.size > _MOST_NAME_BYTES):
            raise tarfile.HeaderError(f"a header claims {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc,no-any-return]


def read_tars(found: Iterable[ObjectInfo]) -> list[Tar]:
    """Read the headers of tar files, several at a time, since on object storage they wait.

    Raises
    ------
    StorageError
        The store refuses, or cannot be reached.
    """
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="tar") as pool:
        return list(pool.map(read_tar, found))


def read_tar(info: ObjectInfo) -> Tar:
    """Read the headers of one tar file; FileNotFoundError where there is none."""
    store, name = parent_of(info.uri)
    places: dict[str, tuple[int, int]] = {}
    with store.open(name, ahead_bytes=_HEADER_BYTES) as file:
        fault = _read_headers(file, info.size_bytes, places)
    for member in places:
        require_unicode(f"{info.uri}#{member}")
    spans = list(places.values())
    columns = {
        "uri": [f"{info.uri}#{member}" for member in places],
        "etag": [member_etag(f"{info.etag}", start, size) for start, size in spans],
        "size_bytes": [size for _, size in spans],
        "container": pa.repeat(info.uri, len(spans)),
        "offset": [start for start, _ in spans],
        "fault": pa.nulls(len(spans), pa.string()),
    }
    return Tar(info=info, members=pa.table(columns, schema=MEMBERS), fault=fault)


def _read_headers(file: IO[bytes], size_bytes: int, places: dict[str, tuple[int, int]]) -> str | None:
    """Fill `places` with the start and size of each audio member; returns what is wrong."""
    at = 0
    try:
        with tarfile.open(fileobj=file, mode="r:", tarinfo=_Header) as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # it keeps every header
                if member.size < 0:  # by an extended header
                    return f"damaged header at byte {at}: a negative size"
                if member.isreg() and member.offset_data + member.size > size_bytes:
                    return f"cut short at byte {size_bytes}, within the member whose header is at byte {at}"
                at = archive.offset
                if member.isreg() and not member.issparse() and extension_of(member.name) in AUDIO_EXTENSIONS:
                    places.pop(member.name, None)  # a name that comes twice means the later one, as tar extracts it
                    places[member.name] = member.offset_data, member.size
            file.seek(at)  # tarfile ends without a word at a header that is damaged
            if any(file.read(tarfile.BLOCKSIZE)):
                return f"damaged header at byte {at}"
    except (tarfile.TarError, ValueError, RecursionError) as error:  # the latter two from what headers say
        return f"not a tar file: {error}" if at == 0 else f"damaged at byte {at}: {error}"
    return None
