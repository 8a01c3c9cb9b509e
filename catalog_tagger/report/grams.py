"""CQT-grams of the evidence, as small pictures: what an editor sees before listening.

A picture shows up to `LONGEST_S` from where a flag's first stretch of evidence begins: frames from left to right, low
bins at the bottom, brightness `log2(1 + 10^4 s)` up to `LOUDEST`. It is WebP, some 4 kB.

Failure rule: audio that cannot be read or decoded any more has no picture, and the report goes on.
"""

from __future__ import annotations

import base64
import io
from typing import Final

import numpy as np
import torch
from PIL import Image

from catalog_tagger.audio import SEGMENT_S, AudioStream, cut_segments, pcm_to_float
from catalog_tagger.errors import AudioError, StorageError
from catalog_tagger.frontends.cqt import CQT
from catalog_tagger.tagging.encoded import Encoded

LONGEST_S: Final = 10.0
LOUDEST: Final = 12.0
_QUALITY: Final = 55


class GramPainter:
    """Pictures of stretches of tracks."""

    def __init__(self) -> None:
        self._cqt = CQT().eval()

    def picture(
        self, uri: str, audio_etag: str | None, start_s: float, end_s: float
    ) -> tuple[str, float, float] | None:
        """A data URI and the times that it shows; None where the audio cannot be had."""
        end_s = min(max(end_s, start_s + SEGMENT_S), start_s + LONGEST_S)
        try:
            with encoded_of(uri, audio_etag).open(sparse=True) as file, AudioStream(file) as stream:
                pcm = stream.window(start_s, length_s=end_s - start_s)
        except (AudioError, StorageError, OSError):
            return None
        if not len(pcm):
            return None
        with torch.inference_mode():
            gram = torch.cat(list(self._cqt(torch.from_numpy(pcm_to_float(cut_segments(pcm)))))).numpy()
        grey = np.clip(gram.T[::-1] * (255.0 / LOUDEST), 0.0, 255.0).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(grey).save(buffer, "WEBP", quality=_QUALITY)
        return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}", start_s, end_s


def encoded_of(uri: str, audio_etag: str | None) -> Encoded:
    """Where the bytes of a row of ``tracks`` are.

    Raises
    ------
    AudioError
        Code ``not_found``: a member of a tar whose place in it the row does not tell.
    """
    container, hash_, _ = uri.partition(".tar#")
    if not hash_:
        return Encoded(uri=uri, track_uri=uri) if "://" in uri else Encoded(path=uri, track_uri=uri)
    tar = f"{container}.tar"
    etag, _, place = (audio_etag or "").rpartition(":")
    try:
        offset, size = (int(number, 16) for number in place.split("+"))
    except ValueError as error:
        raise AudioError("not_found", "its place in the tar is not known") from error
    is_local = "://" not in tar
    return Encoded(
        path=tar if is_local else None,
        uri=None if is_local else tar,
        offset=offset,
        size_bytes=size,
        etag=etag or None,
        track_uri=uri,
    )
