"""How much of which treatment a bundle stands: the document behind `stress.json` and `stress.html`.

A few clips of every source are cut to the 5 s that hold most sound and go through the levels of each
treatment, the same clips at every level. Per kind of item (speech, music, ...) the share that is
right is followed from the clean one onwards. It *breaks* at the first level at which it is below the
interval of the clean share (Wilson, 95 %), or below `BOUND` where the clean share is not.

The document is plain data: `format` (1), `bundle`, `fingerprint`, `task`, `manifest`, `split`, `seed`,
`bound`, `warnings`, `words`, `kinds` (name -> `items`, `sources`, `clean`: SHARE), `treatments` and `skipped`
(`name`, `why`). A treatment has `name`, `words`, `levels` (their names) and `lines`: per kind, `shares`
(a SHARE per level) and `breaks` (the place among the levels, or null). A SHARE is [share, low, high].
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from catalog_tagger.audio import SAMPLE_RATE_HZ, SEGMENT_SAMPLES, pcm_to_float
from catalog_tagger.errors import UsageError
from catalog_tagger.models.bundle import TAGS, Bundle
from catalog_tagger.training.bank import Recording
from catalog_tagger.training.cache import LEVEL_HOP_SAMPLES, frame_levels_db
from catalog_tagger.training.definitions import Definitions, definitions_of
from catalog_tagger.training.evaluate import Scorer
from catalog_tagger.training.evaluation import Material, doubts
from catalog_tagger.training.items import Items
from catalog_tagger.training.manifest import Clip
from catalog_tagger.training.measure import scorer_of
from catalog_tagger.training.metrics import wilson
from catalog_tagger.training.prepare import Progress
from catalog_tagger.training.treatments import TREATMENTS, Apply, Float32Array, Sound, Treatment, active_frames

FORMAT: Final = 1
BOUND: Final = 0.9
_BATCH: Final = 32
_OTHERS: Final = 12
_LEAST_OTHERS: Final = 2
#: Of recordings that are mixed in: enough to draw from, not a whole album.
_OTHER_SAMPLES: Final = 30 * SAMPLE_RATE_HZ
_WORDS: Final = {
    "right": "speech and music: every known output is on the right side of 0.5; voices: the gender is right, and "
    "where nobody speaks the answer is unknown; tags: the highest known label is a true one",
    "breaks": "the first level at which fewer are right than the 95 % interval (Wilson) of the untreated clips "
    "allows, or fewer than the bound where untreated they reach it",
    "mixed in": "of what is mixed in nothing is asked: under music only whether the speech is still heard",
}


def stress_bundle(bundle: Bundle, material: Material, *, clips: int, seed: int, progress: Progress) -> dict[str, Any]:
    """Treat a sample of the clips and listen; returns the document.

    Parameters
    ----------
    clips
        How many are treated, drawn evenly from kinds and sources.
    seed
        Of the draw of clips, of noises and of rooms.

    Raises
    ------
    UsageError
        No clip has a label that the bundle knows.
    """
    definitions = definitions_of(bundle)
    truth = np.array([definitions.truth(clip) for clip in material.clips], np.float32)
    kinds = _kinds(definitions, bundle, truth, material.clips)
    chosen = _sample(kinds, [clip.source for clip in material.clips], clips, seed)
    if not chosen:
        raise UsageError(
            f"{material.manifest}: no clip says anything of {', '.join(definitions.labels)}: nothing to treat"
        )
    sounds = [_sound(material.recordings[at], seed=seed * 1_000_003 + at) for at in chosen]
    sounds, lacking = _with_others(sounds, chosen, material, seed)
    stress = _Stress(
        definitions=definitions,
        scorer=scorer_of(bundle, definitions),
        sounds=sounds,
        truth=truth[chosen],
        sources=tuple(material.clips[at].source for at in chosen),
        kinds=np.array([kinds[at] for at in chosen]),
    )
    used = [one for one in TREATMENTS if one.needs not in lacking]
    done, total = 0, sum(len(one.levels) for one in used)
    treatments = []
    with _one_thread():
        clean = stress.shares(lambda sound: sound.samples, adds=())
        for treatment in used:
            lines: dict[str, list[list[float]]] = defaultdict(list)
            for _, apply in treatment.levels:
                for kind, share in stress.shares(apply, adds=treatment.adds).items():
                    lines[kind].append(share)
                done += 1
                progress(f"listening to {treatment.name}", done, total)
            treatments.append(_described(treatment, lines, clean))
    return {
        "format": FORMAT,
        "bundle": bundle.name,
        "fingerprint": bundle.fingerprint,
        "task": bundle.task,
        "manifest": material.manifest,
        "split": material.split,
        "seed": seed,
        "bound": BOUND,
        "warnings": doubts(bundle, material.clips),
        "words": _WORDS,
        "kinds": {
            kind: {
                "items": int((stress.kinds == kind).sum()),
                "sources": len({stress.sources[at] for at in np.flatnonzero(stress.kinds == kind)}),
                "clean": share,
            }
            for kind, share in clean.items()
        },
        "treatments": treatments,
        "skipped": [
            {"name": one.name, "why": f"the manifest has fewer than {_LEAST_OTHERS} clips to mix in ({one.needs})"}
            for one in TREATMENTS
            if one.needs in lacking
        ],
    }


@contextmanager
def _one_thread() -> Iterator[None]:
    """Thousands of small transforms: threads that wait for each other there only heat the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Stress:
    """The sounds and what is true of them."""

    def __init__(
        self,
        *,
        definitions: Definitions,
        scorer: Scorer,
        sounds: Sequence[Sound],
        truth: Float32Array,
        sources: tuple[str, ...],
        kinds: npt.NDArray[np.str_],
    ) -> None:
        self.definitions = definitions
        self.scorer = scorer
        self.sounds = sounds
        self.truth = truth
        self.sources = sources
        self.kinds = kinds

    @torch.inference_mode()
    def shares(self, apply: Apply, *, adds: Sequence[str]) -> dict[str, list[float]]:
        """Share right with its Wilson interval, per kind."""
        heard = []
        for start in range(0, len(self.sounds), _BATCH):
            treated = [_segment(apply(sound)) for sound in self.sounds[start : start + _BATCH]]
            heard.append(self.scorer(torch.from_numpy(np.stack(treated))).numpy())
        truth = self.truth.copy()
        for column, label in enumerate(self.definitions.labels):
            if any(fnmatchcase(label, pattern) for pattern in adds):
                truth[truth[:, column] == 0, column] = np.nan
        items = Items(
            heard=np.concatenate(heard),
            owner=np.arange(len(self.sounds)),
            seconds=np.ones(len(self.sounds), np.float32),
            truth=truth,
            sources=self.sources,
            languages=("",) * len(self.sounds),
        )
        right, counted = self.definitions.right_as_known(items)
        answer = {}
        order = {name: at for at, name in enumerate(self.definitions.classes)}
        for kind in sorted(set(self.kinds.tolist()), key=lambda name: order.get(name, 0)):
            mine = counted & (self.kinds == kind)
            if mine.any():
                count, of = int(right[mine].sum()), int(mine.sum())
                answer[str(kind)] = [round(one, 4) for one in (count / of, *wilson(count, of))]
        return answer


def _described(
    treatment: Treatment, lines: dict[str, list[list[float]]], clean: dict[str, list[float]]
) -> dict[str, Any]:
    return {
        "name": treatment.name,
        "words": treatment.words,
        "levels": [name for name, _ in treatment.levels],
        "lines": {
            kind: {"shares": shares, "breaks": breaks_at([one[0] for one in shares], clean[kind])}
            for kind, shares in lines.items()
        },
    }


def breaks_at(shares: Sequence[float], clean: Sequence[float], *, bound: float = BOUND) -> int | None:
    """The first place at which a share is below the interval of the clean one, or fell below the bound.

    Parameters
    ----------
    clean
        The clean share, and the low and high end of its interval.
    """
    least = max(clean[1], bound) if clean[0] >= bound else clean[1]
    return next((at for at, share in enumerate(shares) if share < least), None)


def _kinds(definitions: Definitions, bundle: Bundle, truth: Float32Array, clips: Sequence[Clip]) -> list[str]:
    """What each clip is; empty for one that is left out."""
    items = Items(
        heard=np.zeros_like(truth),
        owner=np.arange(len(truth)),
        seconds=np.ones(len(truth), np.float32),
        truth=truth,
        sources=tuple(clip.source for clip in clips),
        languages=("",) * len(clips),
    )
    _, counted = definitions.right_as_known(items)
    if bundle.task == TAGS:
        return ["any label" if one else "" for one in counted]
    places = definitions.true_class(items)
    return [definitions.classes[at] if at >= 0 and one else "" for at, one in zip(places, counted, strict=True)]


def _sample(kinds: Sequence[str], sources: Sequence[str], clips: int, seed: int) -> list[int]:
    """Places of the clips to treat: kinds take turns, in each its sources, in each its clips."""
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


def _sound(recording: Recording, *, seed: int) -> Sound:
    """The 5 s of a recording with most sound, from a whole second on."""
    samples = pcm_to_float(np.asarray(recording.pcm))
    active = frame_levels_db(samples) > recording.gate_db
    frames = SEGMENT_SAMPLES // LEVEL_HOP_SAMPLES
    hop = SAMPLE_RATE_HZ // LEVEL_HOP_SAMPLES
    starts = range(0, max(1, active.size - frames + 1), hop)
    start = max(starts, key=lambda at: int(active[at : at + frames].sum()))
    piece = samples[start * LEVEL_HOP_SAMPLES :][:SEGMENT_SAMPLES]
    return Sound(piece, active_frames(frame_levels_db(piece), recording.gate_db, piece.size), seed)


def _with_others(
    sounds: Sequence[Sound], chosen: Sequence[int], material: Material, seed: int
) -> tuple[list[Sound], set[str]]:
    """Give each sound recordings of other sources to be mixed with; and say which there are too few of."""
    rng = np.random.default_rng([seed, 6])
    pools = {
        need: [at for at in rng.permutation(len(material.clips)).tolist() if material.clips[at].role == role]
        for need, role in (("voices", "speech"), ("music", "music"))
    }
    lacking = {need for need, pool in pools.items() if len(pool) < _LEAST_OTHERS}
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


def _segment(samples: Float32Array) -> Float32Array:
    segment = np.zeros(SEGMENT_SAMPLES, np.float32)
    segment[: min(samples.size, SEGMENT_SAMPLES)] = samples[:SEGMENT_SAMPLES]
    return segment
