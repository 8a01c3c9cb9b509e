"""Voices made of arithmetic: low with low resonances, or high with high ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from toy_collection import RATE_HZ, melody, write_manifest, write_wav

PITCH_HZ = {"f": (190, 260), "m": (90, 130)}
TRACT = {"f": 1.2, "m": 0.95}


def person(rng: np.random.Generator, seconds: float, gender: str) -> np.ndarray:
    """Gliding harmonics under three resonances, in syllables."""
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    knots = max(4, int(seconds * 5))
    places = np.linspace(0, seconds, knots)
    pitch_hz = np.interp(time_s, places, rng.uniform(*PITCH_HZ[gender], knots))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    out = np.zeros_like(time_s)
    formants_hz = [np.interp(time_s, places, rng.uniform(*span, knots)) for span in ((350, 700), (1000, 1900))]
    formants_hz.append(np.full_like(time_s, 2600.0))
    for harmonic in range(1, 30):
        hertz = harmonic * pitch_hz
        gain = sum(np.exp(-np.square((hertz - TRACT[gender] * formant) / 150)) for formant in formants_hz)
        out += np.where(hertz < 7500, gain + 0.01, 0) * np.sin(harmonic * phase)
    syllables = np.clip(np.sin(2 * np.pi * rng.uniform(2.5, 4.0) * time_s + rng.uniform(0, 6)) * 2 + 0.6, 0, 1)
    return 0.3 * out * syllables / np.abs(out).max()


def write_voices(folder: Path, *, voices: int = 6, seconds: float = 3.0, seed: int = 0) -> Path:
    """A manifest of `voices` per gender with two clips each, half as many of music and of noise; its path."""
    rng = np.random.default_rng(seed)
    rows = []

    def add(name: str, samples: np.ndarray, role: str, split: str, speaker: str, gender: str) -> None:
        write_wav(folder / name, samples)
        rows.append(
            {
                "path": name,
                "split": split,
                "role": role,
                "source": f"{role}s",
                "original_path": name,
                "duration_s": seconds,
                "speaker_or_artist": speaker,
                "gender": gender,
                "language": "en",
                "licence": "CC0-1.0",
            }
        )

    for gender in ("f", "m"):
        for voice in range(voices):
            for take in range(2):
                split = "test" if voice == voices - 1 else "train"
                name = f"{gender}{voice}-{take}.wav"
                add(name, person(rng, seconds, gender), "speech", split, f"{gender}{voice}", gender)
    for number in range(voices):
        split = "test" if number == voices - 1 else "train"
        add(f"tune{number}.wav", melody(rng, seconds), "music", split, f"band{number}", "")
        hiss = 0.1 * rng.standard_normal(int(seconds * RATE_HZ))
        add(f"hiss{number}.wav", hiss, "noise", split, "", "")
    return write_manifest(folder, rows)
