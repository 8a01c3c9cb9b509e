"""Decoding whole files to mono 16 kHz int16 on one core: ours, a plain PyAV loop, soundfile, torchcodec.

Files are music in stereo, made by the package's own encoder: MP3 and AAC at 128 kb/s, FLAC, Opus at 96 kb/s. Bytes
come from memory (from the page cache for torchcodec, which takes a path here). soundfile's samples are resampled by
torchaudio's `Resample`, whose filter is made once; soundfile reads no AAC. torchcodec decodes, mixes and resamples by
itself in a process of its own on the same core (`torchcodec_process.py`).
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from material import SAMPLE_RATE_HZ, music
from measuring import Contender, Settings, made, on_cores, take_turns
from results import Row
from section_cqt import against
from torchcodec_process import Decoder, torchcodec_decoder

from catalog_tagger.audio import AudioStream
from catalog_tagger.demo import SUFFIXES, write_audio

#: codec -> (rate of the file, bit rate)
FORMATS: Final[Mapping[str, tuple[int, int | None]]] = {
    "mp3": (44100, 128_000),
    "aac": (44100, 128_000),
    "flac": (44100, None),
    "opus": (48000, 96_000),
}


def run(settings: Settings) -> list[Row]:
    """A row for each format and peer."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        files = written(Path(folder), settings.track_s)
        links = Path(folder) / "links"
        links.mkdir()
        with on_cores(1), torchcodec_decoder(links) as decoder:
            for codec, path in files.items():
                ours, *peers = contenders(codec, path, settings.track_s, decoder)
                take_turns([ours, *peers], settings)
                rows += [against("decode", ours, peer.name, [peer]) for peer in peers]
    return rows


def written(folder: Path, length_s: float) -> dict[str, Path]:
    """Codec -> a file of music."""
    files = {}
    for codec, (rate_hz, bit_rate_bps) in FORMATS.items():
        signal = music(2, length_s=length_s, rate_hz=rate_hz)
        path = folder / f"music{SUFFIXES[codec]}"
        files[codec] = write_audio(path, signal, sample_rate_hz=rate_hz, codec=codec, bit_rate_bps=bit_rate_bps)
    return files


def contenders(codec: str, path: Path, length_s: float, decoder: Decoder) -> list[Contender]:
    """Ours and its peers for one file."""
    data = path.read_bytes()
    return [
        Contender(f"{codec}, {length_s:.0f} s", length_s, lambda: by_package(data)),
        Contender("a plain PyAV loop", length_s, lambda: by_pyav(data)),
        made("soundfile and torchaudio's resampling", length_s, lambda: _by_soundfile(data, FORMATS[codec][0])),
        Contender("torchcodec", length_s, lambda: decoder.decode(path)),
    ]


def by_package(data: bytes) -> int:
    """Samples that `AudioStream` gives."""
    with AudioStream(data) as stream:
        return sum(len(block) for block in stream.blocks())


def by_pyav(data: bytes) -> int:
    """Samples of the loop that PyAV's documentation shows."""
    import av

    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)
    with av.open(io.BytesIO(data)) as container:
        pieces = [piece.to_ndarray()[0] for frame in container.decode(audio=0) for piece in resampler.resample(frame)]
        pieces += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    return len(np.concatenate(pieces))


def _by_soundfile(data: bytes, rate_hz: int) -> Callable[[], Any]:
    import soundfile
    import torch
    from torchaudio.transforms import Resample

    resample = Resample(rate_hz, SAMPLE_RATE_HZ)

    def run() -> int:
        samples, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
        mono = resample(torch.from_numpy(samples.mean(axis=1)))
        return len((mono * 32767.0).to(torch.int16))

    return run
