"""Doses are what they say."""

from __future__ import annotations

import numpy as np
import pytest

from catalog_tagger.training import treatments
from catalog_tagger.training.effects import rms
from catalog_tagger.training.treatments import TREATMENTS, Sound

RATE_HZ = 16_000


def tone(hertz: float, seconds: float = 1.0, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)).astype(np.float32)


def loudest_hz(samples: np.ndarray) -> float:
    middle = samples[samples.size // 4 : 3 * samples.size // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(middle.size), 1 << 17))
    return float(spectrum.argmax() * RATE_HZ / (1 << 17))


@pytest.fixture
def sound() -> Sound:
    samples = np.concatenate([tone(440), np.zeros(RATE_HZ, np.float32)])
    active = np.arange(200) < 100
    voices = tuple(tone(hertz) for hertz in (120, 150, 180))
    return Sound(samples, active, 7, voices=voices, music=(tone(660, 0.5), tone(990, 3.0)))


@pytest.mark.parametrize("ratio_db", [20, 0, -10])
def test_the_ratio_is_that_of_the_sound_where_it_sounds(sound: Sound, ratio_db: float) -> None:
    noise = treatments.pink_noise(sound.samples.size, sound.rng())
    mixed = treatments.mix(sound, noise, ratio_db)
    gain = np.abs(mixed).max() / np.abs(sound.samples + rms(tone(440)) * 10 ** (-ratio_db / 20) * noise).max()
    added = mixed / gain - sound.samples
    assert 20 * np.log10(rms(tone(440)) / rms(added)) == pytest.approx(ratio_db, abs=0.1)
    assert float(np.abs(mixed).max()) <= 1.0


def test_pink_noise_has_equal_power_per_octave() -> None:
    power = np.square(np.abs(np.fft.rfft(treatments.pink_noise(1 << 17, np.random.default_rng(0)))))
    hertz = np.fft.rfftfreq(1 << 17, 1 / RATE_HZ)
    octaves = [power[(hertz >= low) & (hertz < 2 * low)].sum() for low in (100, 200, 400, 800, 1600, 3200)]
    assert max(octaves) / min(octaves) < 1.2


def test_a_band_keeps_what_is_inside() -> None:
    both = tone(500) + tone(4000)
    low = treatments.band(both, high_hz=2000)
    high = treatments.band(both, low_hz=2000)
    np.testing.assert_allclose(low[800:-800], tone(500)[800:-800], atol=3e-3)
    np.testing.assert_allclose(high[800:-800], tone(4000)[800:-800], atol=3e-3)


def test_clipping_cuts_the_share_off_and_keeps_the_peak() -> None:
    samples = tone(440)
    clipped = treatments.clip_share(samples, 0.25)
    peak = np.abs(samples).max()
    assert float(np.abs(clipped).max()) == pytest.approx(peak, rel=1e-4)
    assert float((np.abs(clipped) > 0.999 * peak).mean()) == pytest.approx(0.25, abs=0.02)
    assert treatments.clip_share(np.zeros(9, np.float32), 0.1).tolist() == [0.0] * 9


def test_a_gain_goes_up_as_far_as_nothing_clips() -> None:
    apply = next(dict(one.levels) for one in TREATMENTS if one.name == "loud")
    quiet = Sound(tone(440, level=0.1), np.ones(100, bool), 0)
    assert float(np.abs(apply["6 dB"](quiet)).max()) == pytest.approx(0.1995, abs=1e-3)
    assert float(np.abs(apply["20 dB"](quiet)).max()) == pytest.approx(0.98, abs=1e-3)
    full = Sound(tone(440, level=1.0), np.ones(100, bool), 0)
    np.testing.assert_array_equal(apply["3 dB"](full), full.samples)


def test_pitch_moves_without_the_time_and_tempo_without_the_pitch() -> None:
    samples = tone(440, 2.0)
    higher = treatments.shift_pitch(samples, 12)
    assert higher.size == samples.size
    assert loudest_hz(higher) == pytest.approx(880, rel=0.01)
    faster = treatments.stretch(samples, 2.0)
    assert faster.size == samples.size // 2
    assert loudest_hz(faster) == pytest.approx(440, rel=0.01)


def test_a_room_fades_as_long_as_it_says() -> None:
    click = np.zeros(2 * RATE_HZ, np.float32)
    click[100] = 0.2
    wet = treatments.reverberate(click, 0.8, np.random.default_rng(0))
    levels = [10 * np.log10(np.square(wet[at : at + 1600]).mean()) for at in (1000, 1000 + 4800)]
    assert levels[0] - levels[1] == pytest.approx(60 * 0.3 / 0.8, abs=1.5)
    direct, tail = np.square(wet[100]), np.square(wet[101:]).sum()
    assert 10 * np.log10(direct / tail) == pytest.approx(-3.0, abs=0.3)


def test_every_level_is_repeatable_and_in_range(sound: Sound) -> None:
    names = [one.name for one in TREATMENTS]
    assert len(names) == len(set(names))
    for treatment in TREATMENTS:
        for name, apply in treatment.levels:
            once = apply(sound)
            assert once.dtype == np.float32, (treatment.name, name)
            assert float(np.abs(once).max()) <= 1.0 + 1e-6, (treatment.name, name)
            assert float(np.abs(once).max()) > 0, (treatment.name, name)
    for treatment in TREATMENTS[:3]:
        name, apply = treatment.levels[0]
        np.testing.assert_array_equal(apply(sound), apply(sound))


def test_a_sound_of_a_few_milliseconds_is_treated_too() -> None:
    short = Sound(tone(440, 0.05), np.ones(5, bool), 1, voices=(tone(120),), music=(tone(660),))
    for treatment in TREATMENTS:
        assert treatment.levels[0][1](short).size > 0, treatment.name


@pytest.mark.parametrize("size", [1, 3, 512, 513])
def test_clips_of_a_few_samples_pass_all_treatments(sound: Sound, size: int) -> None:
    tiny = Sound(tone(440)[:size], np.ones(1 + (size - 1) // 160, bool), 7, voices=sound.voices, music=sound.music)
    for treatment in TREATMENTS:
        for name, apply in treatment.levels:
            treated = apply(tiny)
            assert treated.size, f"{treatment.name} {name}"
            assert np.isfinite(treated).all(), f"{treatment.name} {name}"
