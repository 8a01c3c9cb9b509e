"""Recordings that are made out of recordings, kept between trainings.

Each kind is kept under the cache folder in a folder `<kind>-<hash>/`, which is written whole (see
`folders`): `pcm.i16`, all recordings one after the other, int16 mono 16 kHz, little endian, and
`index.json`, a list of [length in samples, source, group]. The hash is over everything they depend
on: `VERSION`, kind, count, seed, and the groups and lengths of the recordings they are made of.

Attempt `i` depends on kind, seed and `i` alone, so that any number of threads makes the same.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from catalog_tagger.audio import pcm_to_float
from catalog_tagger.errors import UsageError
from catalog_tagger.training.bank import Bank, Recording, gate_level_db
from catalog_tagger.training.cache import frame_levels_db
from catalog_tagger.training.folders import INDEX, mapped, read_index, written_whole

Float32Array = npt.NDArray[np.float32]
#: Raised whenever the same input would give other sound.
VERSION: Final = 4
_TRIES: Final = 20


@dataclass(frozen=True)
class Made:
    """What one attempt gave, float32 mono 16 kHz [shape=(n,)], empty where nothing serves; and what of."""

    samples: Float32Array
    source: str
    group: str


Make = Callable[[np.random.Generator], Made]


def kept(
    kind: str,
    make: Make,
    *,
    of: Bank,
    count: int,
    seed: int,
    cache_dir: Path,
    below_loud_db: float,
    progress: Callable[[int, int], None],
) -> list[Recording]:
    """`count` recordings of a kind (fewer where most attempts fail), found under `cache_dir` or made.

    Parameters
    ----------
    make
        One attempt; called in several threads.
    of
        What they are made of.
    below_loud_db
        The gate of the recordings, as in `gate_level_db`.
    progress
        Called with how many are made, and of how many.

    Raises
    ------
    UsageError
        They cannot be written, or were damaged.
    """
    if not count or not of:
        return []
    digest = hashlib.sha256(f"{VERSION} {kind} {count} {seed}".encode())
    for recording in of.recordings:
        digest.update(f"{recording.group}\t{recording.pcm.size}\n".encode())
    folder = cache_dir / f"{kind}-{digest.hexdigest()[:16]}"
    if not folder.exists():
        try:
            with written_whole(folder) as unfinished:
                _write(unfinished, _made(kind, make, count=count, seed=seed), told=lambda done: progress(done, count))
        except OSError as error:
            raise UsageError(
                f"{cache_dir}: recordings cannot be kept here: {error.strerror}; make room, or give another --cache"
            ) from error
    index = read_index(folder)
    pcm = mapped(folder / "pcm.i16", np.int16, sum(size for size, _, _ in index))
    found, start = [], 0
    for size, source, group in index:
        piece = pcm[start : start + size]
        start += size
        gate_db = gate_level_db(frame_levels_db(pcm_to_float(piece)), below_loud_db=below_loud_db)
        found.append(Recording(piece, piece, gate_db, source=source, group=group))
    return found


def _made(kind: str, make: Make, *, count: int, seed: int) -> Iterator[Made]:
    """The first `count` attempts that served, in order."""
    threads = os.cpu_count() or 1

    def attempt(number: int) -> Made:
        return make(np.random.default_rng([seed, number, *kind.encode()]))

    taken = 0
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, _TRIES * count, 4 * threads):
            for made in pool.map(attempt, range(first, first + 4 * threads)):
                if made.samples.size and taken < count:
                    taken += 1
                    yield made
            if taken == count:
                return


def _write(folder: Path, recordings: Iterator[Made], *, told: Callable[[int], None]) -> None:
    index: list[tuple[int, str, str]] = []
    with (folder / "pcm.i16").open("wb") as file:
        for one in recordings:
            file.write(np.rint(one.samples * 32767).astype(np.int16).tobytes())
            index.append((int(one.samples.size), one.source, one.group))
            told(len(index))
    (folder / INDEX).write_text(json.dumps(index))
