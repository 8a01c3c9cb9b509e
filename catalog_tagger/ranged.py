"""An object of object storage as a seekable file, in bounded memory.

Bytes come by ranged reads of one part at a time, with the next part on its way while a file is read
from front to back::

    offset                                        offset + size
      | part 0 | part 1 | part 2 |  ...  | part n |
                  read ^    ^ ahead

At most `_CACHED_PARTS` parts lie in memory, and one more on its way. Every part is tried again as
`catalog_tagger.retrying` says and checked for its length.

Whoever wants a few places of an object opens it `sparse`: parts are small and none is read ahead, until
`_IN_A_ROW` of them were read one after the other; from then on it is like any other.

Failure rule: a part that cannot be had is raised, and stays in `failure` too, since what reads the
file (FFmpeg, through its callback) may swallow exceptions and take them for the end. Bytes of two
versions of an object never come together: a part of a later version is a `StorageError`, and so is one
that ends too early.
"""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

from catalog_tagger.errors import StorageError
from catalog_tagger.etags import CHANGED
from catalog_tagger.storage import explained

if TYPE_CHECKING:
    from catalog_tagger.s3 import Answer, S3Files

PART_BYTES: Final = 4 * 2**20
SPARSE_PART_BYTES: Final = 2**20
_CACHED_PARTS: Final = 6
_IN_A_ROW: Final = 8


class RangedFile(io.RawIOBase):
    """Bytes ``[offset, offset + size_bytes)`` of an object.

    Parameters
    ----------
    files
        The client.
    path
        ``bucket/key``.
    size_bytes
        None: to the end of the object. More than there is counts as what there is.
    etag
        What the object must be; None: whatever it is when it is opened.
    sparse
        Begin with parts of `SPARSE_PART_BYTES` and none ahead.

    Raises
    ------
    FileNotFoundError
        There is no such object.
    StorageError
        It cannot be read; from any later read, too.
    """

    mode = "rb"

    def __init__(
        self,
        files: S3Files,
        path: str,
        *,
        offset: int = 0,
        size_bytes: int | None = None,
        part_bytes: int = PART_BYTES,
        etag: str | None = None,
        sparse: bool = False,
    ) -> None:
        self.failure: StorageError | FileNotFoundError | None = None
        self._files, self._path = files, path
        self._full_part_bytes = part_bytes
        part_bytes = min(part_bytes, SPARSE_PART_BYTES) if sparse else part_bytes
        self._offset, self._part_bytes, self._sparse, self._in_a_row = offset, part_bytes, sparse, 0
        self._at = 0
        self._etag = etag
        self._parts: OrderedDict[int, bytes | bytearray] = OrderedDict()
        self._ahead: tuple[int, Future[Answer]] | None = None
        self._last = -1
        self._size = part_bytes if size_bytes is None else size_bytes
        if self._size > 0:
            first = self._request(0)
            self._etag = first.etag
            there = max(0, first.size_bytes - offset)
            self._size = there if size_bytes is None else min(size_bytes, there)
            self._keep(0, first)

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Bytes from the start."""
        return self._at

    def seek(self, to: int, whence: int = os.SEEK_SET) -> int:
        """Move without reading; beyond the end there is nothing to read."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + to)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; fewer bytes come only at the end."""
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._size - self._at))
        done = 0
        while done < count:
            if self._sparse and self._in_a_row >= _IN_A_ROW:
                self._end_sparse()
            index, skip = divmod(self._at, self._part_bytes)
            piece = memoryview(self._part(index))[skip : skip + count - done]
            view[done : done + len(piece)] = piece
            done += len(piece)
            self._at += len(piece)
        return count

    def close(self) -> None:
        """Give up what is on its way, and the memory."""
        if not self.closed:
            if self._ahead is not None:
                self._ahead[1].cancel()
            self._ahead = None
            self._parts.clear()
        super().close()

    def _part(self, index: int) -> bytes | bytearray:
        part = self._parts.get(index)
        if part is None:
            part = self._keep(index, self._request(index))
        else:
            self._parts.move_to_end(index)
        if index == self._last + 1:
            self._in_a_row += 1
            if not self._sparse:
                self._look_ahead(index + 1)
        elif index != self._last:
            self._in_a_row = 1
        self._last = index
        return part

    def _end_sparse(self) -> None:
        """Go on in full parts, as from a first one."""
        self._sparse, self._part_bytes = False, self._full_part_bytes
        self._parts.clear()
        self._last = self._at // self._part_bytes - 1

    def _request(self, index: int) -> Answer:
        """One part: from what is on its way, or now."""
        try:
            with explained(f"s3://{self._path}", missing_is_error=False):
                if self._ahead is not None and self._ahead[0] == index:
                    (_, future), self._ahead = self._ahead, None
                    return future.result()
                return self._files.fetch(*self._range(index), etag=self._etag).result()
        except (StorageError, FileNotFoundError) as error:
            self.failure = error
            raise

    def _look_ahead(self, index: int) -> None:
        on_its_way = self._ahead is not None and self._ahead[0] == index
        if on_its_way or index in self._parts or index * self._part_bytes >= self._size:
            return
        if self._ahead is not None:
            self._ahead[1].cancel()
        self._ahead = index, self._files.fetch(*self._range(index), etag=self._etag)

    def _range(self, index: int) -> tuple[str, int, int]:
        start = index * self._part_bytes
        end = min(start + self._part_bytes, self._size)
        return self._path, self._offset + start, self._offset + end

    def _keep(self, index: int, answer: Answer) -> bytes | bytearray:
        data = answer.data or b""
        _, start, end = self._range(index)
        if len(data) < end - start:  # it shrank, in a store whose ETags do not tell
            self.failure = StorageError(f"s3://{self._path}: {CHANGED}")
            raise self.failure
        self._parts[index] = data
        while len(self._parts) > _CACHED_PARTS:
            self._parts.popitem(last=False)
        return data
