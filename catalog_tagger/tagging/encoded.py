"""Where a decoder finds the encoded bytes of one track.

Small things come as bytes; local files are opened by the decoder, and so are large objects, which it
reads in bounded memory.

Failure rule: what cannot be opened is its track's `AudioError`, or the `StorageError` that no track
can be blamed for. A tar that is no longer the one that was listed is ``unreadable``: another track may lie
where the track lay. An object that fails while it is read raises, and keeps the error in the file's
`failure` too, since FFmpeg may take the exception for the end of the file.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from catalog_tagger.errors import AudioError, StorageError
from catalog_tagger.etags import CHANGED, file_etag


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Encoded audio: `data`, or `size_bytes` bytes at `offset` of the local file `path`, or of the object `uri`."""

    data: npt.NDArray[np.uint8] | None = None
    path: str | None = None
    uri: str | None = None
    offset: int = 0
    size_bytes: int | None = None
    etag: str | None = None
    """What `path` or `uri` must still be; None: whatever it is now."""
    track_uri: str = field(default="", compare=False)
    """Whose audio it is, for who looks on."""

    def open(self, *, sparse: bool = False) -> IO[bytes]:
        """A seekable file over exactly these bytes.

        Parameters
        ----------
        sparse
            A few places of it are wanted, which spares an object's other bytes.

        Raises
        ------
        AudioError
            Codes ``not_found`` and ``unreadable``.
        StorageError
            A systemic one: no track can be blamed.
        """
        if self.data is not None:
            return io.BytesIO(self.data.data)
        if self.uri is not None:
            return self._open_object(self.uri, sparse=sparse)
        path = Path(self.path or "")
        try:
            if not path.is_file():
                code = "unreadable" if path.exists() else "not_found"
                raise AudioError(code, "not a file" if path.exists() else "no such file")
            file = path.open("rb")
            if self.etag is not None and file_etag(os.fstat(file.fileno())) != self.etag:
                file.close()
                raise AudioError("unreadable", f"the tar {CHANGED}")
        except OSError as error:
            raise AudioError("unreadable", error.strerror or type(error).__name__) from error
        if self.size_bytes is None:
            return file
        return io.BufferedReader(_Slice(file, offset=self.offset, size=self.size_bytes), buffer_size=1 << 16)

    def _open_object(self, uri: str, *, sparse: bool) -> IO[bytes]:
        from catalog_tagger.storage import Store  # decoders of local files do not need it

        folder, _, name = uri.rpartition("/")
        try:
            file = Store(folder).open_range(
                name, offset=self.offset, size_bytes=self.size_bytes, etag=self.etag, sparse=sparse
            )
            return cast(IO[bytes], file)
        except (StorageError, FileNotFoundError) as error:
            raise blamed(error, uri=uri) from error


def blamed(error: StorageError | FileNotFoundError, *, uri: str) -> AudioError | StorageError:
    """An error of storage as its track's; a systemic one as it is."""
    if isinstance(error, FileNotFoundError):
        return AudioError("not_found", "no such object")
    if error.systemic:
        return error
    return AudioError("unreadable", str(error).removeprefix(f"{uri}: "))


class _Slice(io.RawIOBase):
    """A stretch of a file as a file: a tar's member without copying it out."""

    def __init__(self, file: IO[bytes], *, offset: int, size: int) -> None:
        self._file, self._offset, self._size, self._at = file, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, to: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + to)
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = max(0, min(len(buffer), self._size - self._at))
        self._file.seek(self._offset + self._at)
        data = self._file.read(count)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
