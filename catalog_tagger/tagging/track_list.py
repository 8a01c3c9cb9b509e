"""What a list of tracks holds, whatever its source, and what is taken for audio by its name."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from catalog_tagger.errors import UsageError
from catalog_tagger.storage import Store

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


def are_members(uris: pa.ChunkedArray) -> pa.ChunkedArray:
    """Which uris name a member of a tar, as ``<tar>#<member>``."""
    return pc.match_substring(uris, ".tar#", ignore_case=True)


def tars_of(uris: pa.ChunkedArray) -> pa.ChunkedArray:
    """The tar of each uri that names a member of one; other uris as they are."""
    return pc.replace_substring_regex(uris, r"(?is)^(.*?\.tar)#.*$", r"\1")


def extension_of(name: str) -> str:
    """What follows the last dot, in lower case."""
    return name.rpartition(".")[2].lower()


def parent_of(place: str) -> tuple[Store, str]:
    """A file as (store of its folder, name)."""
    folder, _, name = place.rstrip("/").rpartition("/")
    return Store(folder or ("/" if place.startswith("/") else ".")), name


def require_unicode(uri: str) -> None:
    """Names on a disk or in a tar may be any bytes; those of tables are text."""
    try:
        uri.encode()
    except UnicodeEncodeError:
        shown = uri.encode(errors="backslashreplace").decode()
        raise UsageError(f"{shown}: the name is not valid UTF-8; rename the file") from None
