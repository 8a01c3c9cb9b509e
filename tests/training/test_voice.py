"""The vocoder keeps what it should and changes what it is told to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from toy_collection import babble

from catalog_tagger.training.singing import resing, respeak, sing, sing_together, whisper
from catalog_tagger.training.voice import FRAME_S, Ring, analyse, synthesise


def _vowel(hertz: float, seconds: float = 1.5) -> np.ndarray:
    time_s = np.arange(int(seconds * 16_000)) / 16_000
    weights = [np.exp(-abs(n * hertz - 700) / 500) for n in range(1, 30)]
    out = sum(w * np.sin(2 * np.pi * n * hertz * time_s) for n, w in enumerate(weights, start=1))
    return (0.3 * out / np.abs(out).max()).astype(np.float32)


@pytest.mark.parametrize("hertz", [70.0, 85.0, 130.0, 217.0, 251.0, 400.0])
def test_pitch_is_found(hertz: float) -> None:
    voice = analyse(_vowel(hertz))
    inner = voice.f0_hz[40:-40]
    assert (inner > 0).all()
    assert float(np.median(inner)) == pytest.approx(hertz, rel=0.005)


def test_noise_has_no_pitch() -> None:
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1
    assert (analyse(noise).f0_hz > 0).mean() < 0.2


@pytest.mark.parametrize("ratio", [0.7, 1.0, 1.5])
def test_synthesis_sounds_at_the_asked_pitch_and_keeps_the_envelope(ratio: float) -> None:
    voice = analyse(_vowel(150.0))
    frames = np.arange(len(voice), dtype=float)
    made = synthesise(voice, frames, np.full(len(voice), 150.0 * ratio), np.random.default_rng(0), breath=0.0)
    assert made.dtype == np.float32
    assert np.isfinite(made).all()
    again = analyse(made)
    assert float(np.median(again.f0_hz[40:-40])) == pytest.approx(150.0 * ratio, rel=0.04)
    peak_hz = np.argmax(again.log_envelope[60:-60].mean(axis=0)) * 16_000 / 1024
    assert 450 < peak_hz < 950


def test_singing_holds_notes_that_speech_does_not() -> None:
    rng = np.random.default_rng(2)
    spoken = babble(rng, 5.0).astype(np.float32)
    sung = sing(spoken, rng, length_s=5.0)
    assert abs(sung.size / 16_000 - 5.0) < 4.0

    def glide(samples: np.ndarray) -> float:
        f0_hz = analyse(samples).f0_hz
        both = (f0_hz[1:] > 0) & (f0_hz[:-1] > 0)
        return float(np.median(np.abs(np.diff(np.log2(np.maximum(f0_hz, 1))))[both])) / FRAME_S

    assert glide(sung) < glide(spoken)


def test_respoken_is_finite_and_loud_enough() -> None:
    rng = np.random.default_rng(3)
    made = respeak(babble(rng, 3.0).astype(np.float32), rng)
    assert np.isfinite(made).all()
    assert float(np.abs(made).max()) == pytest.approx(0.5, rel=0.01)


def test_a_whisper_has_no_harmonics_and_little_below_the_first_formant() -> None:
    spoken = _vowel(130.0)

    def share(samples: np.ndarray, chosen: Callable[[np.ndarray], np.ndarray]) -> float:
        power = np.square(np.abs(np.fft.rfft(samples)))
        return float(power[chosen(np.fft.rfftfreq(samples.size, 1 / 16_000))].sum() / power.sum())

    def harmonic(hertz: np.ndarray) -> np.ndarray:
        return np.abs((hertz + 65) % 130 - 65) < 10  # a seventh of all

    assert share(spoken, harmonic) > 0.9
    for seed in range(4):
        made = whisper(spoken, np.random.default_rng(seed))
        assert float(np.abs(made).max()) == pytest.approx(0.5, rel=0.01)
        assert share(made, harmonic) < 0.35
        assert share(made, lambda hertz: hertz < 400) < 0.3 * share(spoken, lambda hertz: hertz < 400)


def test_silence_is_not_sung() -> None:
    assert sing(np.zeros(32_000, np.float32), np.random.default_rng(0), length_s=3.0).size == 0


def test_a_choir_of_two_voices_is_longer_and_fuller_than_one() -> None:
    rng = np.random.default_rng(5)
    voices = [babble(rng, 3.0).astype(np.float32) for _ in range(2)]
    made = sing_together(voices, rng, length_s=3.0)
    assert np.isfinite(made).all()
    assert made.size >= 48_000
    assert float(np.abs(made).max()) == pytest.approx(0.5, rel=0.01)
    assert sing_together([np.zeros(32_000, np.float32)], rng, length_s=3.0).size == 0


def test_singing_through_the_vocoder_stays_in_tune() -> None:
    notes = np.concatenate([_vowel(hertz, 0.8) for hertz in (110.0, 165.0, 130.0)])
    made = resing(notes, np.random.default_rng(1))
    f0_hz = analyse(made).f0_hz
    fifth = len(f0_hz) // 3
    low, high = (np.median(part[part > 0]) for part in (f0_hz[10 : fifth - 10], f0_hz[fifth + 10 : 2 * fifth - 10]))
    assert high / low == pytest.approx(1.5, rel=0.05)


def test_noise_is_not_resung() -> None:
    noise = np.random.default_rng(0).standard_normal(32_000).astype(np.float32) * 0.1
    assert resing(noise, np.random.default_rng(0)).size == 0


def test_a_narrow_ring_brings_out_one_harmonic() -> None:
    voice = analyse(_vowel(100.0))
    frames = np.arange(len(voice), dtype=float)
    plain, rung = (
        synthesise(voice, frames, np.full(len(voice), 100.0), np.random.default_rng(0), breath=0.0, ring=ring)
        for ring in (None, Ring(gain_db=25.0, hertz=np.full(len(voice), 1500.0), width_hz=80.0))
    )

    def share(samples: np.ndarray) -> float:
        power = np.square(np.abs(np.fft.rfft(samples)))
        hertz = np.fft.rfftfreq(samples.size, 1 / 16_000)
        return float(power[np.abs(hertz - 1500) < 30].sum() / power.sum())

    assert share(rung) > 20 * share(plain)
