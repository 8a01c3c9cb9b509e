"""Where a decoder finds the encoded bytes of one track."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from catalog_tagger.errors import AudioError


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Encoded audio: `data`, or `size_bytes` bytes at `offset` of the local file `path`, or of the object `uri`."""

    data: npt.NDArray[np.uint8] | None = None
    path: str | None = None
    uri: str | None = None
    offset: int = 0
    size_bytes: int | None = None

    def open(self) -> IO[bytes]:
        """A seekable file over exactly these bytes.

        Raises
        ------
        AudioError
            Codes ``not_found`` and ``unreadable``.
        """
        if self.data is not None:
            return io.BytesIO(self.data.data)
        path = Path(self.path or "")
        try:
            if not path.is_file():
                code = "unreadable" if path.exists() else "not_found"
                raise AudioError(code, "not a file" if path.exists() else "no such file")
            file = path.open("rb")
        except OSError as error:
            raise AudioError("unreadable", error.strerror or type(error).__name__) from error
        if self.size_bytes is None:
            return file
        return io.BufferedReader(_Slice(file, offset=self.offset, size=self.size_bytes), buffer_size=1 << 16)


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
