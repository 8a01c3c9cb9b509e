"""Small labelled collections made of arithmetic: enough to train on in seconds."""

from __future__ import annotations

import csv
import wave
from pathlib import Path
from typing import Any

import numpy as np

RATE_HZ = 16_000


def babble(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Speech-like: gliding harmonics under moving resonances, in syllables with pauses."""
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    knots = max(4, int(seconds * 6))
    pitch_hz = np.interp(time_s, np.linspace(0, seconds, knots), rng.uniform(90, 220, knots))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    formant_hz = np.interp(time_s, np.linspace(0, seconds, knots), rng.uniform(300, 2500, knots))
    out = np.zeros_like(time_s)
    for harmonic in range(1, 25):
        out += np.sin(harmonic * phase) * np.exp(-np.abs(harmonic * pitch_hz - formant_hz) / 400)
    syllables = np.clip(np.sin(2 * np.pi * rng.uniform(2.5, 4.5) * time_s + rng.uniform(0, 6)) * 2, 0, 1)
    return 0.3 * out * syllables / np.abs(out).max()


def melody(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Music-like: held tones with overtones, in chords."""
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    out = np.zeros_like(time_s)
    beat_s = rng.uniform(0.4, 0.9)
    for beat in range(int(seconds / beat_s) + 1):
        since = time_s - beat * beat_s
        on = (since >= 0) & (since < beat_s)
        for semitone in rng.choice(24, 3):
            hertz = 220 * 2 ** (semitone / 12)
            for overtone in range(1, 4):
                out += on * np.exp(-2 * np.clip(since, 0, 5)) * np.sin(2 * np.pi * overtone * hertz * time_s) / overtone
    return 0.3 * out / np.abs(out).max()


def write_wav(path: Path, samples: np.ndarray) -> None:
    """16 bits, mono, 16 kHz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def write_collection(folder: Path, *, per_kind: int = 8, seconds: float = 6.0, seed: int = 0) -> Path:
    """A manifest of speech-like, music-like and noise clips from two sources each; its path."""
    rng = np.random.default_rng(seed)
    rows = []
    for role, make in (("speech", babble), ("music", melody), ("noise", None)):
        for number in range(per_kind):
            samples = make(rng, seconds) if make else 0.1 * rng.standard_normal(int(seconds * RATE_HZ))
            name = f"{role}/{number}.wav"
            write_wav(folder / name, samples)
            rows.append(
                {
                    "path": name,
                    "split": "test" if number % 4 == 3 else "train",
                    "role": role,
                    "label": "",
                    "source": f"{role}-{number % 2}",
                    "original_path": name,
                    "duration_s": seconds,
                    "speaker_or_artist": f"{role}{number}",
                    "licence": "CC0-1.0",
                }
            )
    return write_manifest(folder, rows)


def write_manifest(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """`manifest.csv` of rows that have the same keys."""
    path = folder / "manifest.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
