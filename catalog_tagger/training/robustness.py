"""How much of which treatment a bundle stands: the document behind `stress.json` and `stress.html`.

A few clips of every source are cut to the 5 s that hold most sound and go through the levels of each
treatment, the same clips at every level. Per kind of item (speech, music, ...) the share that is
right is followed from the untreated one onwards; where a treatment mixes sound in, the untreated clips
are asked the same as the treated ones. The verdict of a line is

- ``too few``   of fewer than `LEAST` clips nothing is said;
- ``breaks``    at the first level at which the share is below the interval of the untreated one
                (Wilson, 95 %) or below `BOUND`;
- ``holds``     at no level;
- ``not right untreated``  the untreated share is below `BOUND` already. It breaks, too, where
                significantly more clips became wrong than right (sign test of the same clips, 5 %).

The document is plain data: `format` (2), `bundle`, `fingerprint`, `task`, `manifest`, `split`, `seed`,
`bound`, `least`, `warnings`, `words`, `kinds` (name -> `items`, `sources`, `clean`: SHARE), `treatments`,
`skipped` (`name`, `why`) and, of the task `speech_music`, `speech_over_music` (`over_music`, or null). A
treatment has `name`, `words`, `levels` (their names) and `lines`: per kind, `clean` (SHARE), `shares` (a
SHARE per level), `verdict` and `breaks` (the place among the levels, or null). A SHARE is [share, low, high].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from catalog_tagger.errors import UsageError
from catalog_tagger.models.bundle import SPEECH_MUSIC, TAGS, Bundle
from catalog_tagger.training.definitions import Definitions, definitions_of
from catalog_tagger.training.evaluate import Scorer
from catalog_tagger.training.evaluation import Material, doubts
from catalog_tagger.training.items import Items
from catalog_tagger.training.measure import scorer_of
from catalog_tagger.training.metrics import sign_test, wilson
from catalog_tagger.training.over_music import speech_over_music
from catalog_tagger.training.pages import FORMATS
from catalog_tagger.training.prepare import Progress
from catalog_tagger.training.treated import LEAST_OTHERS, draw, segment_of, sound_of, with_others
from catalog_tagger.training.treatments import TREATMENTS, Apply, Float32Array, Sound, Treatment

BoolArray = npt.NDArray[np.bool_]
BOUND: Final = 0.9
LEAST: Final = 10
_SIGNIFICANT: Final = 0.05
_BATCH: Final = 32
_OTHER_TAGS: Final = "other tags"
_WORDS: Final = {
    "right": "speech and music: every known output is on the right side of 0.5; voices: the gender is right, and "
    "where nobody speaks the answer is unknown; tags: the highest known label is a true one",
    "mixed in": "of what is mixed in nothing is asked: under music only whether the speech is still heard, and of tags "
    "whether one that is true reaches 0.5; the untreated clips beside them are asked the same",
    "breaks": "the first level at which fewer are right than the 95 % interval (Wilson) of the untreated clips "
    "allows, or fewer than the bound",
    "holds": "it breaks at no level",
    "not right untreated": "fewer are right than the bound before anything is done to them; worse at: the first level "
    "at which significantly more of these clips became wrong than right (sign test, 5 %)",
    "too few": f"fewer than {LEAST} clips, of which nothing is said",
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
        The bundle has no labels, or no clip has one that it knows.
    """
    definitions = definitions_of(bundle)
    truth = np.array([definitions.truth(clip) for clip in material.clips], np.float32)
    sources = [clip.source for clip in material.clips]
    kinds = _kinds(definitions, bundle, truth, sources)
    chosen = draw(kinds, sources, clips, seed)
    if not chosen:
        raise UsageError(
            f"{material.manifest}: no clip says anything of {', '.join(definitions.labels)}: nothing to treat"
        )
    sounds = [sound_of(material.recordings[at], seed=seed * 1_000_003 + at) for at in chosen]
    sounds, lacking = with_others(sounds, chosen, material, seed)
    scorer = scorer_of(bundle, definitions)
    stress = _Stress(
        definitions=definitions,
        scorer=scorer,
        sounds=sounds,
        truth=truth[chosen],
        sources=tuple(sources[at] for at in chosen),
        kinds=np.array([kinds[at] for at in chosen]),
        only_true=bundle.task == TAGS,
    )
    used = [one for one in TREATMENTS if one.needs not in lacking]
    done, total = 0, sum(len(one.levels) for one in used)
    treatments = []
    with _one_thread():
        # what is asked depends on what is mixed in, untreated clips included
        clean = {adds: stress.rights(lambda sound: sound.samples, adds=adds) for adds in {(), *(t.adds for t in used)}}
        for treatment in used:
            levels = []
            for _, apply in treatment.levels:
                levels.append(stress.rights(apply, adds=treatment.adds))
                done += 1
                progress(f"listening to {treatment.name}", done, total)
            treatments.append(_described(treatment, clean[treatment.adds], levels))
        over_music = (
            speech_over_music(material, kinds, scorer, pairs=clips, seed=seed, progress=progress)
            if bundle.task == SPEECH_MUSIC
            else None
        )
    document = {
        "format": FORMATS["stress"],
        "bundle": bundle.name,
        "fingerprint": bundle.fingerprint,
        "task": bundle.task,
        "manifest": material.manifest,
        "split": material.split,
        "seed": seed,
        "bound": BOUND,
        "least": LEAST,
        "warnings": doubts(bundle, material.clips),
        "words": _WORDS,
        "kinds": {
            kind: {
                "items": int((stress.kinds == kind).sum()),
                "sources": len({stress.sources[at] for at in np.flatnonzero(stress.kinds == kind)}),
                "clean": _share(right),
            }
            for kind, right in clean[()].items()
        },
        "treatments": treatments,
        "skipped": [
            {"name": one.name, "why": f"the manifest has fewer than {LEAST_OTHERS} clips to mix in ({one.needs})"}
            for one in TREATMENTS
            if one.needs in lacking
        ],
    }
    return document | {"speech_over_music": over_music} if bundle.task == SPEECH_MUSIC else document


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
        only_true: bool,
    ) -> None:
        self.definitions = definitions
        self.scorer = scorer
        self.sounds = sounds
        self.truth = truth
        self.sources = sources
        self.kinds = kinds
        self.only_true = only_true

    @torch.inference_mode()
    def rights(self, apply: Apply, *, adds: Sequence[str]) -> dict[str, BoolArray]:
        """Per kind which of its clips are right, always the same clips for the same `adds`."""
        heard = []
        for start in range(0, len(self.sounds), _BATCH):
            treated = [segment_of(apply(sound)) for sound in self.sounds[start : start + _BATCH]]
            heard.append(self.scorer(torch.from_numpy(np.stack(treated))).numpy())
        items = _items(np.concatenate(heard), self._truth(adds), self.sources)
        right, counted = self.definitions.right_as_known(items)
        order = {name: at for at, name in enumerate((*self.definitions.classes, _OTHER_TAGS))}
        kinds = sorted(set(self.kinds.tolist()), key=lambda name: order[name])
        found = {str(kind): counted & (self.kinds == kind) for kind in kinds}
        return {kind: right[mine] for kind, mine in found.items() if mine.any()}

    def _truth(self, adds: Sequence[str]) -> Float32Array:
        """What is still known where something is mixed in; of a tagger, whatever else may be in that."""
        truth: Float32Array = self.truth.copy()
        for column, label in enumerate(self.definitions.labels):
            if label in adds or (adds and self.only_true):
                truth[truth[:, column] == 0, column] = np.nan
        return truth


def _items(heard: Float32Array, truth: Float32Array, sources: Sequence[str]) -> Items:
    return Items(
        heard=heard,
        owner=np.arange(len(truth)),
        seconds=np.ones(len(truth), np.float32),
        truth=truth,
        sources=tuple(sources),
        languages=("",) * len(truth),
    )


def _share(right: BoolArray) -> list[float]:
    count, of = int(right.sum()), int(right.size)
    return [round(one, 4) for one in (count / of, *wilson(count, of))]


def _described(
    treatment: Treatment, clean: Mapping[str, BoolArray], levels: Sequence[Mapping[str, BoolArray]]
) -> dict[str, Any]:
    lines = {}
    for kind, untreated in clean.items():
        treated = [level[kind] for level in levels]
        verdict, at = judged(untreated, treated)
        shares = [_share(one) for one in treated]
        lines[kind] = {"clean": _share(untreated), "shares": shares, "verdict": verdict, "breaks": at}
    return {
        "name": treatment.name,
        "words": treatment.words,
        "levels": [name for name, _ in treatment.levels],
        "lines": lines,
    }


def judged(clean: BoolArray, treated: Sequence[BoolArray]) -> tuple[str, int | None]:
    """The verdict and the place at which it breaks, of which clips are right untreated and at each level."""
    if clean.size < LEAST:
        return "too few", None
    share, low, _ = _share(clean)
    if share >= BOUND:
        least = max(low, BOUND)
        at = next((place for place, right in enumerate(treated) if right.mean() < least), None)
        return ("holds" if at is None else "breaks"), at
    worse = ((int((clean & ~right).sum()), int((~clean & right).sum())) for right in treated)
    at = next(
        (place for place, (lost, won) in enumerate(worse) if lost > won and sign_test(lost, won) < _SIGNIFICANT), None
    )
    return "not right untreated", at


def _kinds(definitions: Definitions, bundle: Bundle, truth: Float32Array, sources: Sequence[str]) -> list[str]:
    """What each clip is; empty for one that is left out."""
    items = _items(np.zeros_like(truth), truth, sources)
    _, counted = definitions.right_as_known(items)
    if bundle.task == TAGS:
        common = [label for label in ("speech", "music") if label in definitions.labels]
        held = {label: truth[:, definitions.labels.index(label)] == 1 for label in common}
        kinds = [next((label for label in common if held[label][at]), _OTHER_TAGS) for at in range(len(truth))]
    else:
        kinds = [definitions.classes[at] if at >= 0 else "" for at in definitions.true_class(items)]
    return [kind if one else "" for kind, one in zip(kinds, counted, strict=True)]
