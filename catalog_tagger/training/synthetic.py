"""Recordings that `singing` makes out of those of one side of the split.

Five kinds: `sung` and `choir` out of speech, `resung` out of solo singing (all three are music),
`respoken` and `whispered` out of speech (which stay speech, so that the vocoder's sound tells nothing).
Made from a training voice they serve training alone, from a voice of validation validation alone.
They are kept as `made` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from catalog_tagger.audio import SAMPLE_RATE_HZ, pcm_to_float
from catalog_tagger.training import singing
from catalog_tagger.training.bank import Bank, Recording
from catalog_tagger.training.config import SyntheticConfig
from catalog_tagger.training.made import Made, kept

Float32Array = npt.NDArray[np.float32]
KindProgress = Callable[[str, int, int], None]
_SUNG_S: Final = 6.5
_TAKEN_SAMPLES: Final = 7 * SAMPLE_RATE_HZ
_SHORTEST_SAMPLES: Final = 3 * SAMPLE_RATE_HZ // 2
_BELOW_LOUD_DB: Final = 32.0
_OF_ONE: Final = {"resung": singing.resing, "respoken": singing.respeak, "whispered": singing.whisper}


def make_synthetic(
    banks: Mapping[str, Bank],
    config: SyntheticConfig,
    *,
    share: float,
    seed: int,
    cache_dir: Path,
    progress: KindProgress,
) -> dict[str, Bank]:
    """The banks `sung` (with `choir` and `resung` as further sources of it) and `respoken` (with `whispered`).

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
    for kind in ("sung", "choir", "resung", "respoken", "whispered"):
        bank = banks["singing" if kind == "resung" else "speech"]
        count = round(share * getattr(config, kind)) if bank else 0
        found[kind] = kept(
            kind,
            partial(_make, kind, bank),
            of=bank,
            count=count,
            seed=seed,
            cache_dir=cache_dir,
            below_loud_db=_BELOW_LOUD_DB,
            progress=partial(progress, kind),
        )
    return {
        "sung": Bank(found["sung"] + found["choir"] + found["resung"]),
        "respoken": Bank(found["respoken"] + found["whispered"]),
    }


def _make(kind: str, bank: Bank, rng: np.random.Generator) -> Made:
    drawn = [bank.draw(rng) for _ in range(int(rng.integers(2, 5)) if kind == "choir" else 1)]
    taken = [_take(one, rng) for one in drawn if one.pcm.size >= _SHORTEST_SAMPLES]
    samples = np.zeros(0, np.float32)
    if taken and kind == "sung":
        samples = singing.sing(taken[0], rng, length_s=_SUNG_S)
    elif taken and kind == "choir":
        samples = singing.sing_together(taken, rng, length_s=_SUNG_S)
    elif taken:
        samples = _OF_ONE[kind](taken[0], rng)
    return Made(samples, source=kind, group=drawn[0].group)


def _take(recording: Recording, rng: np.random.Generator) -> Float32Array:
    start = int(rng.integers(0, max(1, recording.pcm.size - _TAKEN_SAMPLES)))
    return pcm_to_float(recording.pcm[start : start + _TAKEN_SAMPLES])
