"""The same voice, excited, bored or whispering.

A speaker's vocal tract stays what it is when the voice goes up: formants tell a woman from a man
where pitch cannot. `act` resynthesises speech at another pitch, with another intonation, tempo and
effort, and with its own formants but for the few per cent by which an open mouth moves them. Read
speech becomes what a collection of read speech lacks, and keeps its speaker's gender.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from catalog_tagger.training.voice import Float32Array, analyse, synthesise

#: Median pitch of what is acted, in Hz, per gender: from a murmur to a scream. Most of both ranges is shared,
#: so that in what is acted pitch tells little and formants have to.
PITCH_HZ: Final = {"f": (120.0, 600.0), "m": (70.0, 400.0)}
_WHISPERED: Final = 0.07


def act(samples: Float32Array, rng: np.random.Generator, *, gender: str) -> Float32Array:
    """Speech of one voice, acted.

    Parameters
    ----------
    samples
        float32 mono at 16 kHz.
    gender
        `f` or `m`: bounds the pitch.

    Returns
    -------
    float32 [shape=(n,)] at 16 kHz, peak 0.5; empty where nothing is voiced.
    """
    voice = analyse(samples)
    spoken_hz = voice.f0_hz[voice.f0_hz > 0]
    if spoken_hz.size == 0:
        return np.zeros(0, np.float32)
    source_frame = np.arange(0, len(voice) - 1, float(2 ** rng.uniform(-0.4, 0.4)))
    f0_hz = voice.f0_hz[np.rint(source_frame).astype(int)]
    middle_hz = float(np.median(spoken_hz))
    lowest, highest = np.log2(PITCH_HZ[gender])
    wanted_hz = float(2 ** rng.uniform(lowest, highest))
    raised = float(np.log2(wanted_hz / middle_hz))
    spread = float(rng.choice([rng.uniform(0.2, 0.8), rng.uniform(0.8, 1.3), rng.uniform(1.3, 2.2)]))
    moved = np.where(f0_hz > 0, wanted_hz * (np.maximum(f0_hz, 1.0) / middle_hz) ** spread, 0.0)
    whispered = rng.random() < _WHISPERED
    return synthesise(
        voice,
        source_frame,
        np.zeros_like(moved) if whispered else np.where(moved > 0, np.clip(moved, 55.0, 900.0), 0.0),
        rng,
        formant_ratio=float(2 ** (0.06 * raised + rng.normal(0, 0.02))),
        tilt_db_per_octave=float(rng.uniform(-2, 4) + 1.5 * max(raised, 0.0)),
        breath=float(rng.uniform(0.02, 0.35)),
    )
