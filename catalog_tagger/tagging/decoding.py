"""Decoding in processes of its own, as streaming Ray tasks nested in the tagging actor.

One task decodes one track and yields, in order: a `StreamInfo`, int16 blocks of two minutes, and one
last item, the `AudioError` that ended the track or None. At most two blocks wait unread, so an hour
of audio never piles up, and a decoder that dies takes only its own track along.

What a decoder reads, `Encoded`, is a place in a local file, or the bytes themselves where they came
over the network; it never gets credentials, or a name it could open by itself.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt
import ray

from catalog_tagger.audio import AudioStream, StreamInfo
from catalog_tagger.errors import AudioError
from catalog_tagger.resampling import Pcm

#: blocks that a decoder may be ahead of the actor
_BLOCKS_AHEAD: Final = 2


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Encoded audio: `data`, or `size_bytes` bytes at `offset` of the local file `path`."""

    data: npt.NDArray[np.uint8] | None = None
    path: str | None = None
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


def decode(encoded: Encoded, *, max_duration_s: float) -> Iterator[StreamInfo | Pcm | AudioError | None]:
    """Decode one track in this process; the order of items is the module's."""
    try:
        with encoded.open() as file, AudioStream(file, max_duration_s=max_duration_s) as stream:
            yield stream.info
            yield from stream.blocks()
    except AudioError as error:
        yield error
    except OSError as error:
        yield AudioError("unreadable", error.strerror or type(error).__name__)
    except Exception as error:  # noqa: BLE001 - the bytes are hostile, and one track must never end the shard
        yield AudioError("decode_failed", f"the decoder failed on these bytes: {type(error).__name__}")
    else:
        yield None


#: `decode` as a streaming task: one process, one core, never tried twice
decode_task = ray.remote(
    num_cpus=1,
    max_retries=0,
    num_returns="streaming",
    _generator_backpressure_num_objects=_BLOCKS_AHEAD,
)(decode)
