"""Recordings made out of recordings: kept on their side, the same again, made anew when their input changes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from toy_collection import babble

from catalog_tagger.training.bank import Bank, Recording
from catalog_tagger.training.config import SyntheticConfig
from catalog_tagger.training.synthetic import KindProgress, make_synthetic

COUNTS = SyntheticConfig(sung=2, choir=1, resung=1, respoken=1, whispered=1)


def _bank(seed: int, source: str) -> Bank:
    rng = np.random.default_rng(seed)
    pcm = [(babble(rng, 3.0) * 32767).astype(np.int16) for _ in range(2)]
    return Bank([Recording(one, one, -50.0, source, f"{source} {index}") for index, one in enumerate(pcm)])


def _never(kind: str, done: int, of: int) -> None:
    raise AssertionError(f"{kind} was made again")


def _make(
    banks: dict[str, Bank], folder: Path, progress: KindProgress = lambda kind, done, of: None
) -> dict[str, Bank]:
    return make_synthetic(banks, COUNTS, share=1.0, seed=1, cache_dir=folder, progress=progress)


@pytest.fixture(scope="module")
def banks() -> dict[str, Bank]:
    return {"speech": _bank(0, "spoken"), "singing": _bank(1, "songs")}


@pytest.fixture(scope="module")
def folder(banks: dict[str, Bank], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    _make(banks, folder)
    return folder


def test_as_many_as_asked_for_in_the_groups_of_their_voices(banks: dict[str, Bank], folder: Path) -> None:
    made = _make(banks, folder, progress=_never)
    assert [one.source for one in made["sung"].recordings] == ["sung", "sung", "choir", "resung"]
    assert [one.source for one in made["respoken"].recordings] == ["respoken", "whispered"]
    for one in (*made["sung"].recordings, *made["respoken"].recordings):
        assert one.group.startswith("songs" if one.source == "resung" else "spoken")
        assert np.abs(one.pcm).max() > 8000


def test_other_voices_are_not_answered_from_the_cache(banks: dict[str, Bank], folder: Path) -> None:
    other = {**banks, "speech": _bank(2, "others")}
    made = _make(other, folder)
    assert {one.group.split()[0] for one in made["respoken"].recordings} == {"others"}


def test_what_is_deleted_is_made_again_and_comes_out_the_same(banks: dict[str, Bank], folder: Path) -> None:
    before = np.array(_make(banks, folder, progress=_never)["respoken"].recordings[0].pcm)
    for one in folder.glob("respoken-*"):
        shutil.rmtree(one)
    after = _make(banks, folder)["respoken"].recordings[0].pcm
    assert any(folder.glob("respoken-*"))
    assert np.array_equal(before, after)


def test_without_singing_nothing_is_resung(banks: dict[str, Bank], tmp_path: Path) -> None:
    made = make_synthetic(
        {**banks, "singing": Bank([])},
        SyntheticConfig(resung=3),
        share=1.0,
        seed=0,
        cache_dir=tmp_path,
        progress=_never,
    )
    assert not made["sung"]
    assert not made["respoken"]
