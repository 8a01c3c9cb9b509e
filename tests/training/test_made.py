"""Recordings that are made: kept whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from catalog_tagger.errors import UsageError
from catalog_tagger.training.bank import Bank, Recording
from catalog_tagger.training.made import Made, kept


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
