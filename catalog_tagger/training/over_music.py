"""How a finished bundle hears speech over music, from labelled clips that hold one of the two.

Speech clips are laid over music clips of other sources, so loud that the speech, where it sounds, is so
many dB above the music; a pair is as long as its speech, 5 s at most. All pairs are positives of both
labels; the same music alone are the negatives of speech, the same speech alone those of music. Nothing
else is done to them, in contrast to the composed scenes of `stress`, which a training measures itself on.

The document is `pairs`, `sources` (of speech and of music), `levels_db` and `labels`: per label lists with
one value per level, `precision`, `recall`, `f` and `over_sources`, the interval of F: for speech whole
collections of speech drawn anew, for music of music; null where there is only one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from catalog_tagger.training.evaluate import Scorer
from catalog_tagger.training.evaluation import Material
from catalog_tagger.training.metrics import bootstrap, precision_recall_f_each
from catalog_tagger.training.prepare import Progress
from catalog_tagger.training.stress import RATIOS_DB
from catalog_tagger.training.treated import draw, segment_of, sound_of
from catalog_tagger.training.treatments import Sound, excerpt, mix, unit_level

BoolArray = npt.NDArray[np.bool_]
Float32Array = npt.NDArray[np.float32]
LABELS: Final = ("speech", "music")
_BATCH: Final = 32


@torch.inference_mode()
def speech_over_music(
    material: Material, kinds: Sequence[str], scorer: Scorer, *, pairs: int, seed: int, progress: Progress
) -> dict[str, Any] | None:
    """Measure; None where there is no speech or no music.

    Parameters
    ----------
    kinds
        What each clip is, `speech` and `music` those that hold one of the two alone.
    scorer
        Waveforms to probabilities of speech and of music.
    pairs
        How many to make, drawn evenly from the sources; clips are used again where there are fewer.
    """
    chosen = {kind: _chosen(material, kinds, kind, pairs, seed) for kind in LABELS}
    if not all(chosen.values()):
        return None
    sources = {kind: [material.clips[at].source for at in places] for kind, places in chosen.items()}
    music_of = _partners(sources)
    sources["music"] = [sources["music"][at] for at in music_of]
    speech = [sound_of(material.recordings[at], seed=seed * 1_000_003 + at) for at in chosen["speech"]]
    music = [sound_of(material.recordings[chosen["music"][at]], seed=seed) for at in music_of]
    alone = {
        "music": _heard(scorer, [one.samples for one in speech])[:, 1] >= 0.5,
        "speech": _heard(scorer, [one.samples for one in music])[:, 0] >= 0.5,
    }
    labels: dict[str, dict[str, list[Any]]] = {
        label: {name: [] for name in ("precision", "recall", "f", "over_sources")} for label in LABELS
    }
    for done, ratio_db in enumerate(RATIOS_DB, start=1):
        both = _heard(scorer, [_mixed(one, other, ratio_db) for one, other in zip(speech, music, strict=True)]) >= 0.5
        for column, (label, other_label) in enumerate(zip(LABELS, reversed(LABELS), strict=True)):
            found = _figures(both[:, column], alone[label], sources[label], sources[other_label])
            for name, value in found.items():
                labels[label][name].append(value)
        progress("listening to speech over music", done, len(RATIOS_DB))
    return {
        "pairs": len(speech),
        "sources": {kind: len(set(names)) for kind, names in sources.items()},
        "levels_db": list(RATIOS_DB),
        "labels": labels,
    }


def _chosen(material: Material, kinds: Sequence[str], kind: str, count: int, seed: int) -> list[int]:
    sounding = [one if one == kind and material.recordings[at].pcm.size else "" for at, one in enumerate(kinds)]
    found = draw(sounding, [clip.source for clip in material.clips], count, seed)
    return [found[at % len(found)] for at in range(count)] if found else []


def _partners(sources: dict[str, list[str]]) -> list[int]:
    """For each speech the place of its music: each in turn, the next one where both are of one source."""
    music, answer = sources["music"], []
    for at, source in enumerate(sources["speech"]):
        turns = [(at + step) % len(music) for step in range(len(music))]
        answer.append(next((one for one in turns if music[one] != source), turns[0]))
    return answer


def _mixed(speech: Sound, music: Sound, ratio_db: float) -> Float32Array:
    under = excerpt(music.samples, speech.samples.size, speech.rng())
    return mix(speech, unit_level(under), ratio_db)


def _heard(scorer: Scorer, sounds: Sequence[Float32Array]) -> Float32Array:
    parts = []
    for start in range(0, len(sounds), _BATCH):
        waves = np.stack([segment_of(one) for one in sounds[start : start + _BATCH]])
        parts.append(scorer(torch.from_numpy(waves)).numpy())
    return np.concatenate(parts)


def _figures(
    both: BoolArray, alone: BoolArray, sources: Sequence[str], others: Sequence[str]
) -> dict[str, float | list[float] | None]:
    """Of one label, whose collections are `sources`; the negatives are of `others`."""
    said, there = np.concatenate([both, alone]), np.arange(both.size + alone.size) < both.size
    precision, recall, f = precision_recall_f_each(said, there, np.ones((1, said.size)))[0]
    # a name of their own: what is drawn anew are the collections of this label and, apart, the others
    drawn = [*(f"with {one}" for one in sources), *(f"without {one}" for one in others)]
    low, high = bootstrap(lambda weights: precision_recall_f_each(said, there, weights)[:, 2], drawn)
    enough = len(set(sources)) > 1 and not np.isnan([low, high]).any()
    return {
        "precision": round(float(np.nan_to_num(precision)), 4),
        "recall": round(float(recall), 4),
        "f": round(float(f), 4),
        "over_sources": [round(float(low), 4), round(float(high), 4)] if enough else None,
    }
