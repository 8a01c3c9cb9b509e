"""Recordings that are made: kept whole, and made again when the same input would give other sound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from toy_voices import person

from catalog_tagger.errors import UsageError
from catalog_tagger.training.acting import act
from catalog_tagger.training.bank import Bank, Recording
from catalog_tagger.training.made import VERSION, Made, kept
from catalog_tagger.training.singing import resing, respeak, sing, sing_together, whisper

#: What is made of two voices by two seeds: seconds, and dB in the octaves from 125 Hz to 8 kHz.
SOUND_OF_VERSION = 4
SOUND = {
    "acted f": [[2.5, -50.0, -44.3, -37.9, -32.2, -27.7, -48.5], [2.9, -49.9, -41.3, -34.2, -35.3, -29.9, -49.5]],
    "acted m": [[2.5, -50.0, -34.5, -42.3, -27.3, -23.6, -49.7], [2.9, -45.4, -31.7, -35.2, -30.2, -30.4, -50.0]],
    "sung": [[3.2, -50.0, -44.8, -26.7, -32.8, -25.8, -49.4], [7.7, -50.0, -44.4, -34.3, -30.9, -22.3, -48.9]],
    "choir": [[3.2, -45.5, -26.9, -30.2, -29.7, -29.0, -49.7], [7.7, -48.1, -34.6, -30.7, -32.5, -25.4, -49.7]],
    "resung": [[1.7, -46.2, -35.9, -40.8, -31.5, -28.2, -49.9], [3.0, -48.0, -34.1, -34.1, -36.5, -30.9, -50.0]],
    "respoken": [[2.7, -50.0, -46.3, -34.0, -42.8, -29.9, -49.6], [2.1, -48.8, -34.7, -28.9, -29.5, -32.4, -49.8]],
    "whispered": [[2.1, -50.0, -44.2, -33.4, -33.0, -27.4, -49.2], [3.4, -50.0, -49.1, -36.2, -37.1, -27.4, -49.0]],
}


def _bank() -> Bank:
    pcm = np.arange(16_000).astype(np.int16)
    return Bank([Recording(pcm, pcm, -60.0, source="a", group="b")])


def _noise(rng: np.random.Generator) -> Made:
    return Made(rng.uniform(-0.5, 0.5, int(rng.integers(100, 200))).astype(np.float32), source="a", group="b")


def _kept(
    folder: Path, *, progress: Callable[[int, int], None] = lambda done, of: None, count: int = 5
) -> list[Recording]:
    return kept(
        "noise",
        _noise,
        of=_bank(),
        count=count,
        seed=1,
        cache_dir=folder,
        below_loud_db=30.0,
        progress=progress,
    )


def test_is_made_once(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    first = _kept(tmp_path, progress=lambda done, of: told.append((done, of)))
    assert told == [(done, 5) for done in range(1, 6)]
    again = _kept(tmp_path, progress=lambda done, of: told.append((done, of)))
    assert len(told) == 5
    assert [one.pcm.tolist() for one in again] == [one.pcm.tolist() for one in first]
    assert [one.pcm.tolist() for one in _kept(tmp_path, count=3)] == [one.pcm.tolist() for one in first[:3]]


def test_two_who_make_the_same_at_the_same_time_both_end_whole(tmp_path: Path) -> None:
    others: list[list[Recording]] = []

    def make_another(done: int, of: int) -> None:
        if done == 2:
            others.append(_kept(tmp_path))

    mine = _kept(tmp_path, progress=make_another)
    assert [one.pcm.tolist() for one in mine] == [one.pcm.tolist() for one in others[0]]
    assert len(list(tmp_path.iterdir())) == 1


def test_what_was_cut_short_is_refused(tmp_path: Path) -> None:
    _kept(tmp_path)
    (folder,) = tmp_path.iterdir()
    pcm = folder / "pcm.i16"
    pcm.write_bytes(pcm.read_bytes()[:-2])
    with pytest.raises(UsageError, match=rf"pcm.i16: holds .*; delete {folder}$"):
        _kept(tmp_path)


def _sound(samples: np.ndarray) -> list[float]:
    power = np.square(np.abs(np.fft.rfft(samples, max(1, samples.size)))) / max(1, samples.size) ** 2
    hertz = np.fft.rfftfreq(max(1, samples.size), 1 / 16_000)
    octaves = [power[(hertz >= low) & (hertz < 2 * low)].sum() for low in 125 * 2 ** np.arange(6)]
    # nothing below -50 dB: what is that faint may well differ from machine to machine
    return [round(float(one), 1) for one in (samples.size / 16_000, *(10 * np.log10(1e-5 + np.array(octaves))))]


def test_other_sound_of_the_same_input_is_another_version() -> None:
    drawn = np.random.default_rng(0)
    woman, man = (person(drawn, 2.5, gender).astype(np.float32) for gender in ("f", "m"))
    made = {
        "acted f": lambda rng: act(woman, rng, gender="f"),
        "acted m": lambda rng: act(man, rng, gender="m"),
        "sung": lambda rng: sing(woman, rng, length_s=3.0),
        "choir": lambda rng: sing_together([man, woman], rng, length_s=3.0),
        "resung": lambda rng: resing(man, rng),
        "respoken": lambda rng: respeak(woman, rng),
        "whispered": lambda rng: whisper(woman, rng),
    }
    found = {kind: [_sound(make(np.random.default_rng(seed))) for seed in (1, 2)] for kind, make in made.items()}
    same = found.keys() == SOUND.keys() and all(
        np.abs(np.subtract(found[kind], known)).max() <= 0.5 for kind, known in SOUND.items()
    )
    assert same, f"other sound: raise VERSION in made.py, or old recordings are used; then SOUND is {found}"
    assert VERSION == SOUND_OF_VERSION
