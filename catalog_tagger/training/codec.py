"""Send samples through a lossy codec and back, as a catalogue's audio has been.

Works on raw packets (encoder straight into decoder): no container, no file. Every codec here is in
PyAV's wheels. The answer has the length of the input: codecs that add a lead-in shift the sound by
a few milliseconds, which matters to no label.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt

Int16Array = npt.NDArray[np.int16]


@dataclass(frozen=True)
class LossyCodec:
    """A codec at one rate; `bit_rate_bps` 0 where the codec has only one."""

    encoder: str
    decoder: str
    sample_rate_hz: int
    bit_rate_bps: int


#: From broadcast-like to barely intelligible; half of them are telephone codecs at 8 kHz.
LOSSY_CODECS: tuple[LossyCodec, ...] = (
    LossyCodec("libmp3lame", "mp3", 16_000, 16_000),
    LossyCodec("libmp3lame", "mp3", 16_000, 24_000),
    LossyCodec("libmp3lame", "mp3", 16_000, 32_000),
    LossyCodec("aac", "aac", 16_000, 20_000),
    LossyCodec("libopus", "libopus", 16_000, 8_000),
    LossyCodec("libopus", "libopus", 16_000, 12_000),
    LossyCodec("libopus", "libopus", 8_000, 8_000),
    LossyCodec("g722", "g722", 16_000, 64_000),
    LossyCodec("libopencore_amrnb", "amrnb", 8_000, 4_750),
    LossyCodec("libopencore_amrnb", "amrnb", 8_000, 7_950),
    LossyCodec("pcm_mulaw", "pcm_mulaw", 8_000, 0),
    LossyCodec("pcm_alaw", "pcm_alaw", 8_000, 0),
    LossyCodec("nellymoser", "nellymoser", 8_000, 0),
)


#: A resampler gives nothing for fewer samples than its filter has.
_SHORTEST: Final = 480


def _samples(frames: list[Any]) -> list[Int16Array]:
    return [frame.to_ndarray()[0] for frame in frames]


def _convert(pcm: Int16Array, *, from_hz: int, to_hz: int) -> Int16Array:
    if from_hz == to_hz:
        return pcm
    frame = _as_frame(pcm, from_hz)
    resampler = av.AudioResampler(format="s16", layout="mono", rate=to_hz)
    return np.concatenate(_samples(resampler.resample(frame) + resampler.resample(None)))


def _as_frame(pcm: Int16Array, rate_hz: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm[None]), format="s16", layout="mono")
    frame.sample_rate = rate_hz
    frame.pts = 0
    frame.time_base = Fraction(1, rate_hz)
    return frame


def _encode(pcm: Int16Array, codec: LossyCodec) -> tuple[list[Any], bytes | None]:
    encoder: Any = av.CodecContext.create(codec.encoder, "w")
    encoder.sample_rate = codec.sample_rate_hz
    encoder.layout = "mono"
    encoder.time_base = Fraction(1, codec.sample_rate_hz)
    encoder.format = encoder.codec.audio_formats[0]
    if codec.bit_rate_bps:
        encoder.bit_rate = codec.bit_rate_bps
    encoder.open()
    framer = av.AudioResampler(
        format=encoder.format,
        layout="mono",
        rate=codec.sample_rate_hz,
        frame_size=encoder.frame_size or 0,
    )
    packets: list[Any] = []
    frame = _as_frame(pcm, codec.sample_rate_hz)
    for piece in framer.resample(frame) + framer.resample(None):
        packets += encoder.encode(piece)
    packets += encoder.encode(None)
    return packets, encoder.extradata


def round_trip(pcm: Int16Array, codec: LossyCodec, *, sample_rate_hz: int) -> Int16Array:
    """Encode and decode `pcm` once.

    Parameters
    ----------
    pcm
        int16 [shape=(n,)], mono.
    codec
        One of `LOSSY_CODECS`.
    sample_rate_hz
        Rate of `pcm`; the answer has it too.

    Returns
    -------
    int16 [shape=(n,)].
    """
    if pcm.size == 0:
        return pcm
    if pcm.size < _SHORTEST:
        return round_trip(np.pad(pcm, (0, _SHORTEST - pcm.size)), codec, sample_rate_hz=sample_rate_hz)[: pcm.size]
    narrow = _convert(pcm, from_hz=sample_rate_hz, to_hz=codec.sample_rate_hz)
    packets, extradata = _encode(narrow, codec)
    decoder: Any = av.CodecContext.create(codec.decoder, "r")
    decoder.sample_rate = codec.sample_rate_hz
    decoder.layout = "mono"
    if extradata:
        decoder.extradata = extradata
    pieces: list[Int16Array] = []
    back: Any = None
    for packet in [*packets, None]:
        for frame in decoder.decode(packet):
            if back is None:
                back = av.AudioResampler(format="s16", layout="mono", rate=sample_rate_hz)
            pieces += _samples(back.resample(frame))
    if back is not None:
        pieces += _samples(back.resample(None))
    decoded = np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
    answer = np.zeros(pcm.size, np.int16)
    kept = min(pcm.size, decoded.size)
    answer[:kept] = decoded[:kept]
    return answer
