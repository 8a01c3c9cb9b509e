"""What a stranger's catalogue does to sounds, in measured doses.

A treatment is a row of levels from mild to hard; every level takes a `Sound` and answers float32
mono at 16 kHz. What is drawn at random (a noise, a room, who babbles) is drawn from the sound's own
generator, the same at each level, so that levels differ by their dose alone. `effects` draws such
things at random for training; here nothing but the dose varies, and its values are round numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from catalog_tagger.audio import SAMPLE_RATE_HZ
from catalog_tagger.training.cache import LEVEL_HOP_SAMPLES
from catalog_tagger.training.codec import LossyCodec, round_trip
from catalog_tagger.training.effects import resample, rms

Float32Array = npt.NDArray[np.float32]
_SLOPE_DB_PER_OCTAVE: Final = 72.0
_BABBLE_VOICES: Final = 6
_DIRECT_DB: Final = -3.0
_PEAK: Final = 0.98


@dataclass(frozen=True)
class Sound:
    """What is treated.

    Attributes
    ----------
    samples
        float32 mono 16 kHz [shape=(n,)].
    active
        Which 10 ms frames are above the recording's gate: its level is theirs.
    seed
        Of everything that is drawn for it.
    voices, music
        Other recordings of speech and of music, each at least as long as `samples` if repeated.
    """

    samples: Float32Array
    active: npt.NDArray[np.bool_]
    seed: int
    voices: Sequence[Float32Array] = ()
    music: Sequence[Float32Array] = ()

    def rng(self) -> np.random.Generator:
        """The same numbers each time."""
        return np.random.default_rng(self.seed)


Apply = Callable[[Sound], Float32Array]


@dataclass(frozen=True)
class Treatment:
    """A row of levels, from mild to hard.

    Attributes
    ----------
    words
        What is done, in a sentence.
    levels
        Name and function of each level.
    needs
        `voices` or `music` where it mixes recordings in, else empty.
    adds
        The labels that it makes true, of bundles for speech, music or voices; nothing is known of them any more.
    """

    name: str
    words: str
    levels: tuple[tuple[str, Apply], ...]
    needs: str = ""
    adds: tuple[str, ...] = field(default=())


def pink_noise(length: int, rng: np.random.Generator) -> Float32Array:
    """Noise of equal power per octave above 40 Hz, RMS 1."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    hertz = np.fft.rfftfreq(length, 1 / SAMPLE_RATE_HZ)
    spectrum /= np.sqrt(np.maximum(hertz, 40.0))
    noise = np.fft.irfft(spectrum, length)
    return np.asarray(noise / max(float(np.sqrt(np.square(noise).mean())), 1e-12), np.float32)


def babble(voices: Sequence[Float32Array], length: int, rng: np.random.Generator) -> Float32Array:
    """Six voices at once, equally loud, RMS 1."""
    chosen = rng.choice(len(voices), _BABBLE_VOICES, replace=len(voices) < _BABBLE_VOICES)
    return unit_level(np.sum([unit_level(excerpt(voices[one], length, rng)) for one in chosen], axis=0))


def excerpt(samples: Float32Array, length: int, rng: np.random.Generator) -> Float32Array:
    """`length` samples from a random place, repeated where there are fewer."""
    repeated = np.resize(samples, max(length, samples.size))
    start = int(rng.integers(0, repeated.size - length + 1))
    return repeated[start : start + length]


def unit_level(samples: Float32Array) -> Float32Array:
    """RMS 1; what is silent stays so."""
    return np.asarray(samples / max(rms(samples), 1e-6), np.float32)


def mix(sound: Sound, other: Float32Array, ratio_db: float) -> Float32Array:
    """Add `other` (RMS 1) so that the sound is `ratio_db` above it; quieter as a whole where it would clip."""
    level = rms(sound.samples, sound.active) * 10 ** (-ratio_db / 20)
    return _within_range(sound.samples + np.float32(level) * other)


def band(samples: Float32Array, *, low_hz: float | None = None, high_hz: float | None = None) -> Float32Array:
    """Keep what lies between two corners, 72 dB per octave beyond them."""
    hertz = np.maximum(np.fft.rfftfreq(samples.size, 1 / SAMPLE_RATE_HZ), 1.0)
    octaves = np.zeros(hertz.size)
    if low_hz is not None:
        octaves += np.maximum(np.log2(low_hz / hertz), 0.0)
    if high_hz is not None:
        octaves += np.maximum(np.log2(hertz / high_hz), 0.0)
    gain = 10 ** (-np.minimum(_SLOPE_DB_PER_OCTAVE * octaves, 100.0) / 20)
    return _within_range(np.fft.irfft(np.fft.rfft(samples) * gain, samples.size).astype(np.float32))


def clip_share(samples: Float32Array, share: float) -> Float32Array:
    """Clip hard where the loudest `share` of the samples begin; the peak stays."""
    peak = float(np.abs(samples).max(initial=0.0))
    rail = float(np.quantile(np.abs(samples), 1 - share)) if samples.size else 0.0
    if rail <= 0.0:
        return samples
    return np.asarray(np.clip(samples, -rail, rail) * (peak / rail), np.float32)


def stretch(samples: Float32Array, factor: float) -> Float32Array:
    """`factor` times as fast at the same pitch, by a phase vocoder."""
    from torchaudio.functional import phase_vocoder

    if factor == 1.0 or samples.size == 0:
        return samples
    size, hop = 1024, 256
    if samples.size <= size // 2:  # too few to be reflected at their ends
        padded = np.pad(samples, (0, size - samples.size))
        return stretch(padded, factor)[: max(1, round(samples.size / factor))]
    window = torch.hann_window(size)
    spectrum = torch.stft(torch.from_numpy(samples), size, hop, window=window, return_complex=True)
    advance = torch.linspace(0, torch.pi * hop, size // 2 + 1)[:, None]
    moved = phase_vocoder(spectrum, factor, advance)
    length = round(samples.size / factor)
    answer = torch.istft(moved, size, hop, window=window, length=length)
    return _within_range(np.asarray(answer.numpy(), np.float32))


def shift_pitch(samples: Float32Array, semitones: float) -> Float32Array:
    """Another pitch at the same speed; the formants move with it."""
    factor: float = 2.0 ** (semitones / 12)
    return _within_range(resample(stretch(samples, 1 / factor), samples.size))


def reverberate(samples: Float32Array, decay_s: float, rng: np.random.Generator) -> Float32Array:
    """A room that fades by 60 dB in `decay_s`, the direct sound 3 dB below its reverberation."""
    length = int(min(decay_s, 2.5) * SAMPLE_RATE_HZ)
    tail = rng.standard_normal(int(2.5 * SAMPLE_RATE_HZ))[:length]
    tail *= 10 ** (-3.0 * np.arange(length) / SAMPLE_RATE_HZ / decay_s)
    tail[: int(0.004 * SAMPLE_RATE_HZ)] = 0.0
    tail *= 10 ** (-_DIRECT_DB / 20) / np.sqrt(np.square(tail).sum())
    tail[0] = 1.0
    size = 1 << (samples.size + length).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)[: samples.size]
    return _within_range(wet.astype(np.float32))


def encode(samples: Float32Array, codec: LossyCodec) -> Float32Array:
    """Through a codec and back."""
    pcm = np.rint(np.clip(samples, -1, 1) * 32767).astype(np.int16)
    return (round_trip(pcm, codec, sample_rate_hz=SAMPLE_RATE_HZ) / 32768).astype(np.float32)


def active_frames(levels_db: npt.NDArray[np.float32], gate_db: float, samples: int) -> npt.NDArray[np.bool_]:
    """Which frames of 10 ms are above the gate; all where none is."""
    active = levels_db[: -(-samples // LEVEL_HOP_SAMPLES)] > gate_db
    return active if active.any() else np.ones_like(active)


def _within_range(samples: Float32Array) -> Float32Array:
    peak = float(np.abs(samples).max(initial=0.0))
    return samples if peak <= 1.0 else np.asarray(samples * (_PEAK / peak), np.float32)


def _noise(ratio_db: float) -> Apply:
    return lambda sound: mix(sound, pink_noise(sound.samples.size, sound.rng()), ratio_db)


def _babble(ratio_db: float) -> Apply:
    return lambda sound: mix(sound, babble(sound.voices, sound.samples.size, sound.rng()), ratio_db)


def _music(ratio_db: float) -> Apply:
    def apply(sound: Sound) -> Float32Array:
        rng = sound.rng()
        other = excerpt(sound.music[int(rng.integers(len(sound.music)))], sound.samples.size, rng)
        return mix(sound, unit_level(other), ratio_db)

    return apply


def _band(low_hz: float | None = None, high_hz: float | None = None) -> Apply:
    return lambda sound: band(sound.samples, low_hz=low_hz, high_hz=high_hz)


def _codec(name: str, kbps: float, *, rate_hz: int = SAMPLE_RATE_HZ, decoder: str = "") -> Apply:
    codec = LossyCodec(name, decoder or name, rate_hz, round(1000 * kbps))
    return lambda sound: encode(sound.samples, codec)


def _gain(gain_db: float) -> Apply:
    # as a file of 16 bits holds it
    return lambda sound: np.asarray(np.rint(sound.samples * 10 ** (gain_db / 20) * 32767) / 32768, np.float32)


def _louder(gain_db: float) -> Apply:
    def apply(sound: Sound) -> Float32Array:
        peak = float(np.abs(sound.samples).max(initial=0.0))
        return np.asarray(sound.samples * max(1.0, min(10 ** (gain_db / 20), _PEAK / max(peak, 1e-9))), np.float32)

    return apply


def _clipped(share: float) -> Apply:
    return lambda sound: clip_share(sound.samples, share)


def _pitch(semitones: float) -> Apply:
    return lambda sound: shift_pitch(sound.samples, semitones)


def _tempo(factor: float) -> Apply:
    return lambda sound: stretch(sound.samples, factor)


def _room(decay_s: float) -> Apply:
    return lambda sound: reverberate(sound.samples, decay_s, sound.rng())


def _row(unit: str, values: Sequence[float], make: Callable[[float], Apply]) -> tuple[tuple[str, Apply], ...]:
    return tuple((f"{value:g} {unit}".replace("-", "\u2212"), make(value)) for value in values)


TREATMENTS: Final = (
    Treatment("noise", "pink noise below the sound", _row("dB", (30, 20, 15, 10, 5, 0, -5, -10), _noise)),
    Treatment(
        "babble",
        "six voices talking at once below the sound",
        _row("dB", (20, 15, 10, 5, 0, -5, -10), _babble),
        needs="voices",
        adds=("speech", "voice"),
    ),
    Treatment(
        "music",
        "music below the sound",
        _row("dB", (20, 15, 10, 5, 0, -5, -10, -15), _music),
        needs="music",
        adds=("music",),
    ),
    Treatment(
        "low-pass",
        "nothing above a corner",
        _row("Hz", (6000, 4000, 3400, 2500, 1800, 1200, 800), lambda hertz: _band(high_hz=hertz)),
    ),
    Treatment(
        "high-pass",
        "nothing below a corner",
        _row("Hz", (100, 200, 300, 500, 800, 1200), lambda hertz: _band(low_hz=hertz)),
    ),
    Treatment(
        "mp3",
        "MP3 at 16 kHz and back",
        _row("kb/s", (64, 32, 16, 8), lambda kbps: _codec("libmp3lame", kbps, decoder="mp3")),
    ),
    Treatment("aac", "AAC at 16 kHz and back", _row("kb/s", (48, 24, 16, 12), lambda kbps: _codec("aac", kbps))),
    Treatment("opus", "Opus and back", _row("kb/s", (24, 12, 8, 6), lambda kbps: _codec("libopus", kbps))),
    Treatment(
        "telephone",
        "the codecs of telephones and back, all but G.722 at 8 kHz",
        (
            ("G.722 64", _codec("g722", 64)),
            ("G.711 64", _codec("pcm_mulaw", 0, rate_hz=8000)),
            ("AMR 12.2", _codec("libopencore_amrnb", 12.2, rate_hz=8000, decoder="amrnb")),
            ("AMR 7.95", _codec("libopencore_amrnb", 7.95, rate_hz=8000, decoder="amrnb")),
            ("AMR 4.75", _codec("libopencore_amrnb", 4.75, rate_hz=8000, decoder="amrnb")),
        ),
    ),
    Treatment("loud", "louder, as far as nothing clips", _row("dB", (3, 6, 12, 20), _louder)),
    Treatment("quiet", "quieter, kept in 16 bits", _row("dB", (-10, -20, -30, -40, -50), _gain)),
    Treatment(
        "clipping",
        "the loudest samples cut off",
        tuple((f"{100 * share:g} %", _clipped(share)) for share in (0.01, 0.03, 0.1, 0.25, 0.5)),
    ),
    Treatment("pitch up", "a higher pitch at the same speed, formants too", _row("st", (1, 2, 4, 7, 12), _pitch)),
    Treatment("pitch down", "a lower pitch at the same speed, formants too", _row("st", (-1, -2, -4, -7, -12), _pitch)),
    Treatment("faster", "faster at the same pitch", _row("x", (1.1, 1.25, 1.5, 1.75, 2.0), _tempo)),
    Treatment("slower", "slower at the same pitch", _row("x", (0.9, 0.8, 0.7, 0.6, 0.5), _tempo)),
    Treatment(
        "room",
        "a room that fades by 60 dB in so long, the direct sound 3 dB below it",
        _row("s", (0.2, 0.4, 0.8, 1.5, 3.0, 5.0), _room),
    ),
)
