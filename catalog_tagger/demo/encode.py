"""Samples to audio files, in every codec that PyAV's wheels can encode.

| codec | container | rates | samples on disk |
|---|---|---|---|
| `mp3` | MP3 | 8, 11.025, 12, 16, 22.05, 24, 32, 44.1, 48 kHz | lossy |
| `aac` | M4A | 7.35 to 96 kHz | lossy |
| `alac` | M4A | any | 16 bit, exact |
| `flac` | FLAC | any | 16 bit, exact |
| `opus` | Ogg | 8, 12, 16, 24, 48 kHz | lossy |
| `wav`, `aiff` | RIFF, AIFF | any | 16 bit, exact |
| `vorbis` | Ogg | any | lossy; always two channels, FFmpeg's own encoder has no mono |
| `wma` | ASF | 8 to 48 kHz | lossy |

Files are the same byte for byte on every run: no clock and no random serial number enters them.
A codec or a rate outside this table is a `UsageError`, and no file is left behind.
"""

from __future__ import annotations

import filecmp
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import av
import numpy as np
import numpy.typing as npt

from catalog_tagger.errors import UsageError

_BLOCK = 1024  # samples per frame where the encoder takes any number


@dataclass(frozen=True)
class _Encoding:
    container: str
    encoder: str
    sample_format: str
    rates_hz: tuple[int, ...] | None = None
    bit_rate_bps: int | None = None  # where the encoder has no default that it accepts itself
    stereo_only: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    lost_frames: int = 0  # frames at the start that its decoder swallows: written as silence before the signal


_MP3_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_AAC_RATES_HZ = (7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_ENCODINGS: Final = {
    "mp3": _Encoding("mp3", "libmp3lame", "fltp", _MP3_RATES_HZ, options={"compression_level": "7"}),
    "aac": _Encoding("ipod", "aac", "fltp", _AAC_RATES_HZ, options={"aac_coder": "fast"}),
    "alac": _Encoding("ipod", "alac", "s16p"),
    "flac": _Encoding("flac", "flac", "s16"),
    "opus": _Encoding("ogg", "libopus", "flt", (8000, 12000, 16000, 24000, 48000)),
    "wav": _Encoding("wav", "pcm_s16le", "s16"),
    "aiff": _Encoding("aiff", "pcm_s16be", "s16"),
    "vorbis": _Encoding("ogg", "vorbis", "fltp", stereo_only=True, options={"strict": "experimental"}),
    "wma": _Encoding("asf", "wmav2", "fltp", _MP3_RATES_HZ, bit_rate_bps=96000, lost_frames=1),
}

#: The names `write_audio` knows.
CODECS: Final[tuple[str, ...]] = tuple(_ENCODINGS)

#: The usual suffix of a file in each codec.
SUFFIXES: Final[dict[str, str]] = {
    **{codec: f".{codec}" for codec in CODECS},
    "aac": ".m4a",
    "alac": ".m4a",
    "vorbis": ".ogg",
}


def write_audio(
    path: str | Path,
    samples: npt.ArrayLike,
    *,
    sample_rate_hz: int,
    codec: str,
    bit_rate_bps: int | None = None,
) -> Path:
    """Encode `samples` into the file `path`.

    Parameters
    ----------
    path
        Written whole or not at all; the suffix is the caller's choice and may lie. A file that holds
        these very bytes already is left alone, so that its time does not make it look changed.
    samples
        Shape (samples,) or (channels, samples), amplitudes in [-1, 1]; louder ones are clipped.
    sample_rate_hz
        Rate of `samples` and of the file.
    codec
        One of `CODECS`.
    bit_rate_bps
        Of lossy codecs; by default the encoder's own choice.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    UsageError
        Unknown codec, a rate that the codec lacks, or samples of another shape.
    """
    path, signal = Path(path), np.atleast_2d(np.asarray(samples, dtype=np.float32))
    if codec not in _ENCODINGS:
        raise UsageError(f"unknown codec {codec!r}; known are {', '.join(CODECS)}")
    if signal.ndim != 2 or signal.shape[0] not in (1, 2):
        raise UsageError(f"expected (samples,) or (1 or 2 channels, samples), got shape {np.shape(samples)}")
    encoding = _ENCODINGS[codec]
    if encoding.stereo_only and signal.shape[0] == 1:
        signal = np.repeat(signal, 2, axis=0)
    if encoding.rates_hz and sample_rate_hz not in encoding.rates_hz:
        raise UsageError(f"{codec} has no rate of {sample_rate_hz} Hz; it has {encoding.rates_hz}")
    partial = path.with_name(f".{path.name}.partial")
    try:
        _encode(partial, np.clip(signal, -1.0, 1.0), encoding, sample_rate_hz=sample_rate_hz, bit_rate_bps=bit_rate_bps)
        if not (path.is_file() and filecmp.cmp(partial, path, shallow=False)):
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _encode(
    path: Path,
    signal: npt.NDArray[np.float32],
    encoding: _Encoding,
    *,
    sample_rate_hz: int,
    bit_rate_bps: int | None,
) -> None:
    layout = "mono" if signal.shape[0] == 1 else "stereo"
    with av.open(str(path), "w", format=encoding.container, options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(
            encoding.encoder,
            rate=sample_rate_hz,
            format=encoding.sample_format,
            layout=layout,
            options=dict(encoding.options),
        )
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        if bit_rate_bps := bit_rate_bps or encoding.bit_rate_bps:
            stream.bit_rate = bit_rate_bps
        stream.codec_context.open()
        block = stream.codec_context.frame_size or _BLOCK
        signal = np.pad(signal, ((0, 0), (encoding.lost_frames * block, 0)))
        for start in range(0, signal.shape[1], block):
            frame = _frame(signal[:, start : start + block], encoding.sample_format, layout)
            frame.sample_rate, frame.pts = sample_rate_hz, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _frame(block: npt.NDArray[np.float32], sample_format: str, layout: str) -> av.AudioFrame:
    if sample_format.startswith("s16"):
        block = np.round(block * 32767.0).astype(np.int16)
    if not sample_format.endswith("p"):  # interleaved: L R L R ... in one row
        block = block.T.reshape(1, -1)
    return av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format=sample_format, layout=layout)
