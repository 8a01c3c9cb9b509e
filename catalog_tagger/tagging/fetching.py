"""Encoded audio from where it lies to where it can be decoded, ahead of need.

Local files are not read here: decoders open them. Objects, and members of tars in object storage by
their byte range, are fetched whole by a few threads, in the order of the shard (so a tar is read from
front to back), while at most `ahead_bytes` wait to be decoded.

Failure rule: a missing object is its track's `AudioError` (``not_found``), a broken read likewise
(``unreadable``); a refused access, missing credentials or a store that cannot be reached end the job,
since no track can be blamed for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import numpy as np

from catalog_tagger.errors import AudioError, StorageError
from catalog_tagger.storage import Store
from catalog_tagger.tagging.encoded import Encoded

_THREADS: Final = 8
_AHEAD_BYTES: Final = 256 * 2**20


def fetch_all(
    tracks: Iterable[dict[str, Any]], *, threads: int = _THREADS, ahead_bytes: int = _AHEAD_BYTES
) -> Iterator[tuple[dict[str, Any], Encoded | AudioError]]:
    """Fetch the tracks of a shard.

    Parameters
    ----------
    tracks
        Rows of a plan, in the order to be tagged.

    Yields
    ------
    (track, what was fetched or why not)
        In the same order.

    Raises
    ------
    StorageError
        Access was refused, or the store cannot be reached.
    """
    waiting: deque[tuple[dict[str, Any], Future[Encoded | AudioError]]] = deque()
    held = 0
    with ThreadPoolExecutor(threads, thread_name_prefix="fetch") as pool:
        try:
            for track in tracks:
                while waiting and (held >= ahead_bytes or len(waiting) >= 2 * threads):
                    done, future = waiting.popleft()
                    held -= done["size_bytes"] or 0
                    yield done, future.result()
                waiting.append((track, pool.submit(fetch, track)))
                held += track["size_bytes"] or 0
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def fetch(track: dict[str, Any]) -> Encoded | AudioError:
    """One track's bytes, or where a decoder finds them."""
    container, offset, size = track["container"], track["offset"], track["size_bytes"]
    place = container or track["uri"]
    if container is not None and offset is None:
        return AudioError("not_found", "the tar file, or the member in it, does not exist")
    if "://" not in place:
        return Encoded(path=place, offset=offset or 0, size_bytes=size if container is not None else None)
    if container is not None and size == 0:  # a range request cannot ask for nothing
        return AudioError("empty", "the file has no bytes")
    folder, _, name = place.rpartition("/")
    span = {} if container is None else {"start": offset, "end": offset + size}
    try:
        data = Store(folder).read(name, **span)
    except FileNotFoundError:
        return AudioError("not_found", "no such object")
    except StorageError as error:
        if error.systemic:
            raise
        return AudioError("unreadable", str(error).removeprefix(f"{place}: "))
    return Encoded(data=np.frombuffer(data, dtype=np.uint8))
