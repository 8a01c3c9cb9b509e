"""Real files of every container and codec that the product reads: what the fuzzer starts from."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from audio_files import ALL_CODECS, Signal, glide, suffix_of, write

#: name -> (encoder, container, suffix, sample format, rate, options of the container): what `audio_files` lacks
_PYAV = {
    "ogg_flac": ("flac", "ogg", ".oga", "s16", 32000, {}),
    "adts": ("aac", "adts", ".aac", "fltp", 24000, {}),
    "mp2": ("mp2", "mp2", ".mp3", "s16", 32000, {}),
    "adpcm_ms": ("adpcm_ms", "wav", ".wav", "s16", 22050, {}),
    "adpcm_ima": ("adpcm_ima_wav", "wav", ".wav", "s16p", 22050, {}),
    "wmav1": ("wmav1", "asf", ".wma", "fltp", 22050, {}),
    "flac_in_mp4": ("flac", "mp4", ".m4a", "s16", 16000, {}),
    "opus_in_mp4": ("libopus", "mp4", ".m4a", "s16", 48000, {}),
    "aac_index_first": ("aac", "ipod", ".m4a", "fltp", 44100, {"movflags": "faststart"}),
    "aac_fragmented": ("aac", "mp4", ".m4a", "fltp", 22050, {"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
    "pcm_in_mov": ("pcm_s16be", "mov", ".m4a", "s16", 16000, {}),
}
_SUFFIX_TO_CONTAINER = {
    ".mp3": "mp3",
    ".aac": "aac",
    ".m4a": "mp4",
    ".mp4": "mp4",
    ".flac": "flac",
    ".ogg": "ogg",
    ".oga": "ogg",
    ".opus": "ogg",
    ".wav": "wav",
    ".w64": "w64",
    ".aiff": "aiff",
    ".wma": "asf",
}


@dataclass(frozen=True, kw_only=True)
class Seed:
    """One good file."""

    name: str
    container: str
    suffix: str
    data: bytes


def make_seeds(folder: Path, *, data: Path | None = None, most_from_data: int = 60, dice: random.Random) -> list[Seed]:
    """A few seconds of sound in every codec, and some of the files of a folder."""
    found = []
    for i, codec in enumerate(ALL_CODECS):
        rate_hz = 48000 if codec == "opus" else (44100, 22050, 16000)[i % 3]
        sound = _sound(3.0 + i % 4, rate_hz=rate_hz, channels=1 + i % 2, dice=dice)
        suffix = suffix_of(codec)
        path = write(folder / f"{codec}{suffix}", sound, rate_hz=rate_hz, codec=codec)
        found.append(_seed(codec, suffix, path.read_bytes()))
    for name, (encoder, container, suffix, kind, rate_hz, options) in _PYAV.items():
        sound = _sound(4.0, rate_hz=rate_hz, channels=1, dice=dice)
        path = folder / f"{name}{suffix}"
        _encode(path, sound, encoder, container, kind, rate_hz, options)
        found.append(_seed(name, suffix, path.read_bytes()))
    if data is not None:
        paths = [path for path in sorted(data.rglob("*")) if path.suffix.lower() in _SUFFIX_TO_CONTAINER]
        paths = [path for path in paths if 0 < path.stat().st_size <= 2**20]
        for path in dice.sample(paths, min(len(paths), most_from_data)):
            found.append(_seed(f"data_{path.stem[:20]}", path.suffix.lower(), path.read_bytes()))
    return found


def _seed(name: str, suffix: str, data: bytes) -> Seed:
    return Seed(name=name, container=_SUFFIX_TO_CONTAINER[suffix], suffix=suffix, data=data)


def _sound(length_s: float, *, rate_hz: int, channels: int, dice: random.Random) -> Signal:
    hiss = np.random.default_rng(dice.getrandbits(32)).standard_normal((channels, round(length_s * rate_hz)))
    return glide(length_s, rate_hz=rate_hz, channels=channels) + 0.02 * hiss


def _encode(
    path: Path, sound: Signal, encoder: str, container: str, kind: str, rate_hz: int, options: dict[str, str]
) -> None:
    with av.open(str(path), "w", format=container, options=options) as output:
        stream = output.add_stream(encoder, rate=rate_hz, layout="mono", format=kind)
        stream.bit_rate = 64000
        stream.codec_context.open()  # the size of its frames is known only then
        size = stream.codec_context.frame_size or 1024
        for start in range(0, sound.shape[1] - size, size):
            part = sound[:, start : start + size]
            part = part.astype(np.float32) if kind == "fltp" else (part * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format=kind, layout="mono")
            frame.sample_rate, frame.pts = rate_hz, start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
