"""The clips that are treated: which, which 5 s of them, and what is mixed with them.

Clips are drawn evenly: kinds take turns, in each its sources, in each its clips.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from catalog_tagger.audio import SAMPLE_RATE_HZ, SEGMENT_SAMPLES, pcm_to_float
from catalog_tagger.training.bank import Recording
from catalog_tagger.training.cache import LEVEL_HOP_SAMPLES, frame_levels_db
from catalog_tagger.training.evaluation import Material
from catalog_tagger.training.treatments import Sound, active_frames

Float32Array = npt.NDArray[np.float32]
#: Fewer recordings than this are not enough to be mixed with.
LEAST_OTHERS: Final = 2
_OTHERS: Final = 12
#: Of recordings that are mixed in: enough to draw from, not a whole album.
_OTHER_SAMPLES: Final = 30 * SAMPLE_RATE_HZ


def draw(kinds: Sequence[str], sources: Sequence[str], clips: int, seed: int) -> list[int]:
    """Places of `clips` clips to treat, in order; those whose kind is empty are none of them."""
    order = np.random.default_rng([seed, 5]).permutation(len(kinds))
    tree: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for at in order.tolist():
        if kinds[at]:
            tree[kinds[at]][sources[at]].append(at)
    queues = [_in_turns(list(groups.values())) for groups in tree.values()]
    return sorted(_in_turns(queues)[:clips])


def _in_turns(rows: Sequence[Sequence[int]]) -> list[int]:
    longest = max((len(row) for row in rows), default=0)
    return [row[at] for at in range(longest) for row in rows if at < len(row)]


def sound_of(recording: Recording, *, seed: int) -> Sound:
    """The 5 s of a recording with most sound, from a whole second on."""
    samples = pcm_to_float(np.asarray(recording.pcm))
    active = frame_levels_db(samples) > recording.gate_db
    frames = SEGMENT_SAMPLES // LEVEL_HOP_SAMPLES
    hop = SAMPLE_RATE_HZ // LEVEL_HOP_SAMPLES
    starts = range(0, max(1, active.size - frames + 1), hop)
    start = max(starts, key=lambda at: int(active[at : at + frames].sum()))
    piece = samples[start * LEVEL_HOP_SAMPLES :][:SEGMENT_SAMPLES]
    return Sound(piece, active_frames(frame_levels_db(piece), recording.gate_db, piece.size), seed)


def with_others(
    sounds: Sequence[Sound], chosen: Sequence[int], material: Material, seed: int
) -> tuple[list[Sound], set[str]]:
    """Give each sound recordings of other sources to be mixed with; and say which there are too few of."""
    rng = np.random.default_rng([seed, 6])
    pools = {
        need: [at for at in rng.permutation(len(material.clips)).tolist() if material.clips[at].role == role]
        for need, role in (("voices", "speech"), ("music", "music"))
    }
    lacking = {need for need, pool in pools.items() if len(pool) < LEAST_OTHERS}
    others: dict[int, Float32Array] = {}

    def samples_of(at: int) -> Float32Array:
        if at not in others:
            others[at] = pcm_to_float(np.asarray(material.recordings[at].pcm[:_OTHER_SAMPLES]))
        return others[at]

    answer = []
    for sound, at in zip(sounds, chosen, strict=True):
        source = material.clips[at].source
        found = {}
        for need, pool in pools.items():
            elsewhere = [one for one in pool if material.clips[one].source != source]
            taken = (elsewhere or [one for one in pool if one != at])[:_OTHERS]
            found[need] = [samples for samples in map(samples_of, taken) if samples.size]
        answer.append(replace(sound, voices=found["voices"], music=found["music"]))
    return answer, lacking


def segment_of(samples: Float32Array) -> Float32Array:
    """5 s that begin with these samples, and silence behind them."""
    segment = np.zeros(SEGMENT_SAMPLES, np.float32)
    segment[: min(samples.size, SEGMENT_SAMPLES)] = samples[:SEGMENT_SAMPLES]
    return segment
