"""Encoded audio from where it lies to where it can be decoded, ahead of need.

Local files are not read here: decoders open them. Of object storage, what is small is fetched whole
ahead of need, a few objects at a time; what is large (above `WHOLE_BYTES`) is left to its decoder, which
reads it in bounded memory.

Members of a tar in object storage come out of one pass over it, from front to back, in parts; bytes
that no small member needs are skipped where they are many::

    tar     |h|  a  |h| b |h|      large      |h| c |h|  not audio  |h| d |
    parts     [  1  ][  2  ]                    [ 3 ]                 [ 4 ]

A part is fetched once, serves every member in it, and is let go with the last of them; a read that
breaks off is taken up where it broke. At most `ahead_bytes` are held or on their way; an object that is
larger than its manifest says is left to its decoder, too. A tar that is
no longer the one that was listed is not read: its members lie elsewhere.

Failure rule: a missing object is its track's `AudioError` (``not_found``), a read that failed however
often it was tried likewise (``unreadable``), and a part that failed its members'. A refused access,
missing credentials or a store that cannot be reached end the job, since no track can be blamed for
them; so do `_FAILURES_IN_A_ROW` failed reads of a kind (whole, or by decoders) with none that succeeds
in between: a store in a bad hour must not quarantine a catalogue.
"""

from __future__ import annotations

import asyncio
import bisect
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from catalog_tagger.errors import AudioError, StorageError
from catalog_tagger.etags import CHANGED, member_place
from catalog_tagger.storage import Store, explained
from catalog_tagger.tagging.encoded import Encoded, blamed
from catalog_tagger.tracing import span

if TYPE_CHECKING:
    from catalog_tagger.s3 import Answer

#: objects and members up to this size are fetched whole
WHOLE_BYTES: Final = 32 * 2**20
_PART_BYTES: Final = 8 * 2**20
#: fewer bytes that nobody needs are read along rather than asked around
_GAP_BYTES: Final = 2**20
#: what an object counts for at least, so that one that grew a little is still fetched whole
_LEAST_WEIGHT: Final = 2**20
_REQUESTS: Final = 8
_AHEAD_BYTES: Final = 256 * 2**20
_FAILURES_IN_A_ROW: Final = 4


class StoreHealth:
    """Whether object storage answers at all; one instance sees all reads of an actor, whoever does them.

    Reads that come whole and those of decoders are counted apart: a store may give the one and fail the other.
    """

    def __init__(self) -> None:
        self._failures = {True: 0, False: 0}

    def note(self, error: Exception | None, *, whole: bool = False) -> None:
        """Take note of how a read ended.

        Parameters
        ----------
        error
            None: it gave what was asked for.
        whole
            It was to come whole; otherwise it is a decoder's, in parts.

        Raises
        ------
        StorageError
            Too many reads in a row failed in a way that may pass.
        """
        # a decoder tells its error as its track's, which does not say whether it may pass; this one does not
        transient = isinstance(error, StorageError) and error.transient and CHANGED not in str(error)
        failures = self._failures[whole] = self._failures[whole] + 1 if transient else 0
        if failures >= _FAILURES_IN_A_ROW:
            message = f"{error} ({failures} reads in a row failed; resume the run when the store is well)"
            raise StorageError(message, systemic=True, transient=True) from error


def fetch_all(
    tracks: Iterable[dict[str, Any]],
    *,
    requests: int = _REQUESTS,
    ahead_bytes: int = _AHEAD_BYTES,
    roots: Sequence[str] = (),
    health: StoreHealth | None = None,
) -> Iterator[tuple[dict[str, Any], Encoded | AudioError]]:
    """Fetch the tracks of a shard.

    Parameters
    ----------
    tracks
        Rows of a plan, in the order to be tagged; members of a tar side by side, by their offset.
    requests
        Most requests at a time.
    ahead_bytes
        Most bytes that are held or on their way, but for what the next track needs.
    roots
        Folders and ``s3://`` prefixes that tracks must lie in, links followed; none: anywhere.
    health
        Keeps count of failed reads from one call to the next; by default of this call alone.

    Yields
    ------
    (track, what was fetched or why not)
        In the same order.

    Raises
    ------
    StorageError
        Access was refused, or the store cannot be reached or fails all the time.
    """
    steps, reads = _steps(tracks, _resolved(roots))
    limit, health = asyncio.Semaphore(requests), health or StoreHealth()
    begun = held = let_go = 0
    try:
        for step in steps:
            needed = step.reads[-1].number if step.reads else -1
            while begun < len(reads):
                weight = reads[begun].weight
                if begun > needed and (held + weight > ahead_bytes or begun - let_go >= 4 * requests):
                    break
                reads[begun].begin(limit)
                held += weight
                begun += 1
            yield step.row, step.take(health)
            for read in step.ends:
                read.answer = None
                held -= read.weight
                let_go += 1
    finally:
        for read in reads[:begun]:
            read.cancel()


@dataclass(kw_only=True)
class _Read:
    """Bytes ``[start, end)`` of one object, asked for once."""

    number: int
    uri: str
    weight: int
    """Most bytes that it may hold; an object that is larger is left to its decoder."""
    start: int = 0
    end: int | None = None
    etag: str | None = None
    answer: Answer | AudioError | None = None
    _future: Future[Answer] | None = None

    def begin(self, limit: asyncio.Semaphore) -> None:
        """Ask for the bytes."""
        folder, _, name = self.uri.rpartition("/")
        options = {"etag": self.etag, "most_bytes": self.weight, "limit": self._turn(limit)}
        self._future = Store(folder).fetch(name, self.start, self.end, **options)

    @asynccontextmanager
    async def _turn(self, limit: asyncio.Semaphore) -> AsyncIterator[None]:
        """While it may read."""
        async with limit:
            with span("fetch", uri=self.uri, start=self.start):
                yield

    def take(self, health: StoreHealth) -> Answer | AudioError:
        """Wait for the bytes; a `StorageError` where no track is to blame."""
        if self.answer is None and self._future is not None:
            future, self._future = self._future, None
            try:
                with explained(self.uri, missing_is_error=False):
                    self.answer = future.result()
                health.note(None, whole=True)
            except (StorageError, FileNotFoundError) as error:
                health.note(error, whole=True)
                reason = blamed(error, uri=self.uri)
                if isinstance(reason, StorageError):
                    raise
                self.answer = reason
        assert self.answer is not None, "a read is taken after it has begun and before it is let go"
        return self.answer

    def cancel(self) -> None:
        """Stop waiting for the bytes."""
        if self._future is not None:
            self._future.cancel()


@dataclass(kw_only=True)
class _Step:
    """One track, and the reads that it needs."""

    row: dict[str, Any]
    known: Encoded | AudioError | None = None
    """What is known without a read."""
    reads: list[_Read] = field(default_factory=list)
    ends: list[_Read] = field(default_factory=list)
    """Reads that no later track needs."""

    def take(self, health: StoreHealth) -> Encoded | AudioError:
        """Wait for the track's bytes."""
        if self.known is not None:
            return self.known
        pieces = []
        for read in self.reads:
            answer = read.take(health)
            if isinstance(answer, AudioError):
                return answer
            if answer.data is None:
                return Encoded(uri=read.uri, size_bytes=answer.size_bytes, track_uri=self.row["uri"])
            pieces.append((read.start, answer.data))
        whole: bytes | bytearray = pieces[0][1]
        if self.row["container"] is not None:
            start, end = self.row["offset"], self.row["offset"] + self.row["size_bytes"]
            whole = b"".join(memoryview(data)[max(0, start - at) : end - at] for at, data in pieces)
        return Encoded(data=np.frombuffer(whole, dtype=np.uint8), track_uri=self.row["uri"])


def _steps(tracks: Iterable[dict[str, Any]], roots: tuple[str, ...]) -> tuple[list[_Step], list[_Read]]:
    """The tracks with the reads that they need, and all reads in the order of need."""
    steps: list[_Step] = []
    reads: list[_Read] = []
    members: list[_Step] = []

    def end_of_tar() -> None:
        reads.extend(_tar_reads(members, first=len(reads)))
        members.clear()

    for row in tracks:
        step = _Step(row=row, known=_known(row, roots))
        steps.append(step)
        if step.known is not None:
            continue
        if members and not _follows(row, members[-1].row):
            end_of_tar()
        if row["container"] is not None:
            members.append(step)
            continue
        step.reads.append(_Read(number=len(reads), uri=row["uri"], weight=_weight(row["size_bytes"])))
        reads += step.reads
    end_of_tar()
    seen: set[int] = set()
    for step in reversed(steps):
        step.ends = [read for read in step.reads if read.number not in seen]
        seen.update(read.number for read in step.ends)
    return steps, reads


def _weight(size_bytes: int | None) -> int:
    """What an object may come to: manifests, which may say its size, need not be right."""
    return WHOLE_BYTES if size_bytes is None else min(max(size_bytes, _LEAST_WEIGHT), WHOLE_BYTES)


def _follows(row: dict[str, Any], before: dict[str, Any]) -> bool:
    """Whether a row is a member of the same tar, not before the other."""
    return bool(row["container"] == before["container"] and row["offset"] >= before["offset"])


def _tar_reads(members: list[_Step], *, first: int) -> list[_Read]:
    """The parts of one pass over a tar, given to the members that need them."""
    stretches: list[list[int]] = []
    for step in members:
        start, end = step.row["offset"], step.row["offset"] + step.row["size_bytes"]
        if stretches and start - stretches[-1][1] <= _GAP_BYTES:
            stretches[-1][1] = max(stretches[-1][1], end)
        else:
            stretches.append([start, end])
    spans = [(at, min(at + _PART_BYTES, end)) for start, end in stretches for at in range(start, end, _PART_BYTES)]
    reads = [
        _Read(
            number=first + i,
            uri=members[0].row["container"],
            weight=end - start,
            start=start,
            end=end,
            etag=_tar_etag(members[0].row),
        )
        for i, (start, end) in enumerate(spans)
    ]
    for step in members:
        start, end = step.row["offset"], step.row["offset"] + step.row["size_bytes"]
        at = bisect.bisect_right(spans, start, key=lambda span: span[0]) - 1
        while at < len(spans) and spans[at][0] < end:
            step.reads.append(reads[at])
            at += 1
    return reads


def _tar_etag(row: dict[str, Any]) -> str | None:
    """The etag of the tar that a member was listed in; None where the member's etag is somebody else's."""
    place = member_place(row["etag"] or "")
    return place[0] or None if place is not None and place[1:] == (row["offset"], row["size_bytes"]) else None


def _known(row: dict[str, Any], roots: tuple[str, ...]) -> Encoded | AudioError | None:
    """What can be told of a track without reading; None where its bytes must be fetched."""
    container, offset, size = row["container"], row["offset"], row["size_bytes"]
    place = container or row["uri"]
    is_local = "://" not in place
    if is_local and roots:
        place = os.path.realpath(place)
    if row["fault"] is not None:
        return AudioError("damaged_tar", row["fault"])
    if container is not None and offset is None:
        return AudioError("not_found", "the tar file, or the member in it, does not exist")
    if roots and not any(place == root or place.startswith(f"{root}/") for root in roots):
        return AudioError("outside_roots", "its real place lies outside the roots that the run may read")
    member = {"track_uri": row["uri"]}
    if container is not None:
        member |= {"offset": offset, "size_bytes": size, "etag": _tar_etag(row)}
    if is_local:
        return Encoded(path=place, **member)
    if container is not None and size == 0:  # a range request cannot ask for nothing
        return AudioError("empty", "the file has no bytes")
    return Encoded(uri=place, **member) if size is not None and size > WHOLE_BYTES else None


def _resolved(roots: Sequence[str]) -> tuple[str, ...]:
    return tuple((root if "://" in root else os.path.realpath(root)).rstrip("/") for root in roots)
