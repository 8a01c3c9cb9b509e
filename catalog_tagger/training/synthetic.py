"""Recordings that `singing` makes out of those of one side of the split.

Four kinds: `sung` and `choir` out of speech, `resung` out of solo singing (all three are music),
and `respoken` out of speech (which stays speech, so that the vocoder's sound tells nothing).
Made from a training voice they serve training alone, from a voice of validation validation alone.

Each kind is kept under the cache folder as `<kind>-<hash>.i16`, all recordings one after the other,
int16 mono 16 kHz, and `<kind>-<hash>.json`, a list of [length in samples, group]. The hash is over
everything they depend on: `VERSION`, kind, count, seed, and the groups and lengths of the
recordings. The index is written last: samples without one are made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from catalog_tagger.audio import SAMPLE_RATE_HZ, pcm_to_float
from catalog_tagger.training import singing
from catalog_tagger.training.bank import Bank, Recording, gate_level_db
from catalog_tagger.training.cache import frame_levels_db
from catalog_tagger.training.config import SyntheticConfig

Float32Array = npt.NDArray[np.float32]
KindProgress = Callable[[str, int, int], None]
#: Raised whenever the same input would give other sound.
VERSION: Final = 2
_SUNG_S: Final = 6.5
_TAKEN_SAMPLES: Final = 7 * SAMPLE_RATE_HZ
_SHORTEST_SAMPLES: Final = 3 * SAMPLE_RATE_HZ // 2
_BELOW_LOUD_DB: Final = 32.0
_TRIES: Final = 20


def make_synthetic(
    banks: Mapping[str, Bank],
    config: SyntheticConfig,
    *,
    share: float,
    seed: int,
    cache_dir: Path,
    progress: KindProgress,
) -> dict[str, Bank]:
    """The banks `sung` (with `choir` and `resung` as further sources of it) and `respoken`.

    Parameters
    ----------
    banks
        `speech` and `singing` of one side of the split.
    share
        Of the configured counts.
    progress
        Called with the kind, how many are made, and of how many.
    """
    found: dict[str, list[Recording]] = {}
    for kind in ("sung", "choir", "resung", "respoken"):
        bank = banks["singing" if kind == "resung" else "speech"]
        count = round(share * getattr(config, kind)) if bank else 0
        found[kind] = _kept(kind, count=count, bank=bank, seed=seed, cache_dir=cache_dir, progress=progress)
    return {"sung": Bank(found["sung"] + found["choir"] + found["resung"]), "respoken": Bank(found["respoken"])}


def _kept(kind: str, *, count: int, bank: Bank, seed: int, cache_dir: Path, progress: KindProgress) -> list[Recording]:
    if count == 0:
        return []
    digest = hashlib.sha256(f"{VERSION} {kind} {count} {seed}".encode())
    for recording in bank.recordings:
        digest.update(f"{recording.group}\t{recording.pcm.size}\n".encode())
    path = cache_dir / f"{kind}-{digest.hexdigest()[:16]}.i16"
    index_path = path.with_suffix(".json")
    if not index_path.exists():
        _write(kind, count, bank, path, seed=seed, progress=progress)
    index = json.loads(index_path.read_text())
    pcm = np.memmap(path, np.int16, "r") if index else np.zeros(0, np.int16)
    found, start = [], 0
    for size, group in index:
        piece = pcm[start : start + size]
        start += size
        gate = gate_level_db(frame_levels_db(pcm_to_float(piece)), below_loud_db=_BELOW_LOUD_DB)
        found.append(Recording(piece, piece, gate, source=kind, group=group))
    return found


def _write(kind: str, count: int, bank: Bank, path: Path, *, seed: int, progress: KindProgress) -> None:
    rng = np.random.default_rng([seed, count, *kind.encode()])
    index: list[tuple[int, str]] = []
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        for _ in range(_TRIES * count):
            made, group = _make(kind, bank, rng)
            if made.size == 0:
                continue
            file.write(np.rint(made * 32767).astype(np.int16).tobytes())
            index.append((int(made.size), group))
            progress(kind, len(index), count)
            if len(index) == count:
                break
    unfinished.replace(path)
    index_path = path.with_suffix(".json")
    unfinished.write_text(json.dumps(index))
    unfinished.replace(index_path)


def _make(kind: str, bank: Bank, rng: np.random.Generator) -> tuple[Float32Array, str]:
    """One recording, empty where what was drawn does not serve, and the group of what it is made of."""
    drawn = [bank.draw(rng) for _ in range(int(rng.integers(2, 5)) if kind == "choir" else 1)]
    taken = [_take(one, rng) for one in drawn if one.pcm.size >= _SHORTEST_SAMPLES]
    group = drawn[0].group
    if not taken:
        return np.zeros(0, np.float32), group
    if kind == "sung":
        return singing.sing(taken[0], rng, length_s=_SUNG_S), group
    if kind == "choir":
        return singing.sing_together(taken, rng, length_s=_SUNG_S), group
    return (singing.resing if kind == "resung" else singing.respeak)(taken[0], rng), group


def _take(recording: Recording, rng: np.random.Generator) -> Float32Array:
    start = int(rng.integers(0, max(1, recording.pcm.size - _TAKEN_SAMPLES)))
    return pcm_to_float(recording.pcm[start : start + _TAKEN_SAMPLES])
