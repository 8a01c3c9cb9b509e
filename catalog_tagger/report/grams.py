"""CQT-grams of the evidence, as small pictures: what an editor sees before listening.

A picture shows up to `LONGEST_S` from where a flag's first stretch of evidence begins: frames from left to right, low
bins at the bottom, brightness `log2(1 + 10^4 s)` up to `LOUDEST`. It is WebP, some 4 kB.

Failure rule: audio that cannot be read or decoded any more has no picture, and the report goes on; a decoder that dies
or takes too long dies alone. When a store cannot be reached several times in a row no more is asked of it.
"""

from __future__ import annotations

import base64
import io
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from multiprocessing import get_context
from typing import Final

import numpy as np
import torch
from PIL import Image

from catalog_tagger.audio import SEGMENT_S, AudioStream, cut_segments, pcm_to_float
from catalog_tagger.errors import AudioError, StorageError
from catalog_tagger.etags import member_place
from catalog_tagger.frontends.cqt import CQT
from catalog_tagger.tagging.encoded import Encoded

LONGEST_S: Final = 10.0
LOUDEST: Final = 12.0
_QUALITY: Final = 55
_LONGEST_DRAWING_S: Final = 60.0
#: in a row
_MOST_FAILURES: Final = 3


class GramPainter:
    """Pictures of stretches of tracks, drawn one at a time in a process of its own."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._failures = 0

    def __enter__(self) -> GramPainter:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def picture(
        self, uri: str, audio_etag: str | None, start_s: float, end_s: float
    ) -> tuple[str, float, float] | None:
        """A data URI and the times that it shows; None where the audio cannot be had."""
        if self._failures >= _MOST_FAILURES:
            return None
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        begun = self._pool.submit(_draw, uri, audio_etag, start_s, end_s)
        try:
            drawn, reached = begun.result(timeout=_LONGEST_DRAWING_S)
        except (TimeoutError, FutureTimeout, BrokenProcessPool):
            self._end()
            drawn, reached = None, False
        self._failures = 0 if reached else self._failures + 1
        return drawn

    def _end(self) -> None:
        if self._pool is not None:
            for process in list(self._pool._processes.values()):
                process.kill()
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def _draw(
    uri: str, audio_etag: str | None, start_s: float, end_s: float
) -> tuple[tuple[str, float, float] | None, bool]:
    """(Picture, whether its store was within reach)."""
    end_s = min(max(end_s, start_s + SEGMENT_S), start_s + LONGEST_S)
    try:
        with encoded_of(uri, audio_etag).open(sparse=True) as file, AudioStream(file) as stream:
            pcm = stream.window(start_s, length_s=end_s - start_s)
    except StorageError:
        return None, False
    except Exception:  # noqa: BLE001  the bytes are hostile, and a page without a picture is a page
        return None, True
    if not len(pcm):
        return None, True
    with torch.inference_mode():
        gram = torch.cat(list(_front_end()(torch.from_numpy(pcm_to_float(cut_segments(pcm)))))).numpy()
    grey = np.clip(gram.T[::-1] * (255.0 / LOUDEST), 0.0, 255.0).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "WEBP", quality=_QUALITY)
    return (f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}", start_s, end_s), True


@lru_cache(maxsize=1)
def _front_end() -> CQT:
    return CQT().eval()


def tar_of(uri: str) -> str | None:
    """The tar that a track is a member of; None where it is a file or an object of its own."""
    at = uri.lower().find(".tar#")
    return None if at < 0 else uri[: at + len(".tar")]


def encoded_of(uri: str, audio_etag: str | None) -> Encoded:
    """Where the bytes of a row of ``tracks`` are.

    Raises
    ------
    AudioError
        Code ``not_found``: a member of a tar whose place in it the row does not tell.
    """
    tar = tar_of(uri)
    if tar is None:
        return Encoded(uri=uri, track_uri=uri) if "://" in uri else Encoded(path=uri, track_uri=uri)
    place = member_place(audio_etag or "")
    if place is None:
        raise AudioError("not_found", "its place in the tar is not known")
    etag, offset, size = place
    is_local = "://" not in tar
    return Encoded(
        path=tar if is_local else None,
        uri=None if is_local else tar,
        offset=offset,
        size_bytes=size,
        etag=etag or None,
        track_uri=uri,
    )
