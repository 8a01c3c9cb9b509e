"""What is listened to: segments that need numpy alone, and music and speech of the demo as samples and as files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HZ: Final = 16000
SEGMENT_S: Final = 5.0
FILE_RATE_HZ: Final = 44100
_PIECE_S: Final = 60.0
_BED: Final = 0.3

Samples = npt.NDArray[np.float32]


def segments(count: int) -> Samples:
    """Segments of noise, glides and tones, shape (count, 80000); no transform's speed depends on what they hold."""
    rng = np.random.default_rng(0)
    t = np.arange(int(SEGMENT_S * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    out = 0.1 * rng.standard_normal((count, len(t)))
    start_hz, end_hz, tone_hz = rng.uniform(80.0, 5000.0, (3, count, 1))
    out += 0.3 * np.sin(2 * np.pi * (start_hz + (end_hz - start_hz) * t / 2 / SEGMENT_S) * t)
    out += 0.2 * np.sin(2 * np.pi * tone_hz * t)
    return out.astype(np.float32)


def music(number: int, *, length_s: float, rate_hz: int = FILE_RATE_HZ) -> Samples:
    """A piece of the demo, shape (2, samples), from its start again where it is shorter."""
    from catalog_tagger.demo.music import STYLES, compose

    piece = compose(STYLES[number % len(STYLES)], seed=number, length_s=min(_PIECE_S, length_s), rate_hz=rate_hz)
    return _as_long_as(piece, round(length_s * rate_hz))


def speech(number: int, *, length_s: float, rate_hz: int = FILE_RATE_HZ) -> Samples:
    """Voices of the demo one after the other, beginning with one of them, shape (2, samples)."""
    import torch
    from torchaudio.functional import resample

    from catalog_tagger.audio import pcm_to_float, read_pcm
    from catalog_tagger.demo.catalogue import VOICES_DIR

    files = sorted(VOICES_DIR.glob("*.opus"))
    first = number % len(files)
    said = np.concatenate([pcm_to_float(read_pcm(file)) for file in [*files[first:], *files[:first]]])
    said = said[: round(length_s * SAMPLE_RATE_HZ)]
    voice = resample(torch.from_numpy(said), SAMPLE_RATE_HZ, rate_hz).numpy()
    return _as_long_as(np.stack([voice, voice]), round(length_s * rate_hz))


def track(number: int, *, length_s: float) -> Samples:
    """Music, speech and speech over music in turn, shape (2, samples) at `FILE_RATE_HZ`."""
    if number % 3 == 0:
        return music(number, length_s=length_s)
    voice = speech(number, length_s=length_s)
    return voice if number % 3 == 1 else 0.7 * voice + _BED * music(number, length_s=length_s)


def real_segments() -> Samples:
    """Segments that networks are asked about, shape (n, 80000).

    Of the labelled clips of split `test` in the folder that ``CATALOG_TAGGER_DATA`` names, where it does; else of
    the demo's music and voices.
    """
    from catalog_tagger.audio import cut_segments, pcm_to_float, read_pcm

    named = os.environ.get("CATALOG_TAGGER_DATA")
    if named:
        return np.concatenate([pcm_to_float(cut_segments(read_pcm(path))) for path in _test_clips(Path(named))])
    made = [music(number, length_s=20.0, rate_hz=SAMPLE_RATE_HZ).mean(axis=0) for number in range(12)]
    made.append(speech(0, length_s=160.0, rate_hz=SAMPLE_RATE_HZ)[0])
    return np.concatenate([samples.reshape(-1, round(SEGMENT_S * SAMPLE_RATE_HZ)) for samples in made])


def _test_clips(folder: Path) -> Sequence[Path]:
    import pandas as pd

    manifest = pd.read_csv(folder / "manifest.csv")
    return [folder / path for path in manifest.loc[manifest["split"] == "test", "path"]]


def _as_long_as(samples: Samples, wanted: int) -> Samples:
    return np.tile(samples, -(-wanted // samples.shape[1]))[:, :wanted]
