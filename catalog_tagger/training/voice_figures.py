"""How often the voice of a clip is judged right, group by group.

A clip is cut in segments as the tagging job cuts it and judged as a track is (`judge_voice`). Of
clips whose collection names the gender, a clip is right where the verdict is that gender: `unknown`
and `mixed` count as wrong. Each group is one gender of one source, of one language, or in one of
these conditions:

- `room`          a random room, from a cupboard to a church;
- `telephone`     8 kHz and mu-law;
- `noise`, `music`  of the same side of the split, 5 dB under the voice;
- `half a second` the loudest half second alone.

Of clips in which nobody speaks, `unknown` is right.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from catalog_tagger.audio import SAMPLE_RATE_HZ, SEGMENT_SAMPLES, cut_segments, pcm_to_float
from catalog_tagger.tagging.voices import VoiceVerdict, judge_voice
from catalog_tagger.training import effects
from catalog_tagger.training.bank import Bank, Recording
from catalog_tagger.training.cache import frame_levels_db
from catalog_tagger.training.codec import LossyCodec, round_trip
from catalog_tagger.training.config import ClipConfig
from catalog_tagger.training.manifest import Clip
from catalog_tagger.training.metrics import share
from catalog_tagger.training.prepare import kind_of, matches

Int16Array = npt.NDArray[np.int16]
#: From waveforms (batch, 80000) to probabilities (batch, 2) in the order of `voices.LABELS`.
Hear = Callable[[Tensor], Tensor]
VOICELESS: Final = ("music", "singing", "noise")
GENDERS: Final = {"f": "female", "m": "male"}
_TELEPHONE: Final = LossyCodec("pcm_mulaw", "pcm_mulaw", 8_000, 0)
_UNDER_DB: Final = 5.0
_BATCH: Final = 32


@dataclass(frozen=True)
class Heard:
    """What a network says of recordings, segment by segment.

    Attributes
    ----------
    p_female, p_voice, seconds
        Per segment.
    owner
        To which recording a segment belongs.
    """

    p_female: npt.NDArray[np.float32]
    p_voice: npt.NDArray[np.float32]
    seconds: npt.NDArray[np.float64]
    owner: npt.NDArray[np.int64]

    def verdicts(self, decision: Mapping[str, float]) -> list[VoiceVerdict]:
        """The verdict of each recording, in their order."""
        bounds = np.searchsorted(self.owner, np.arange(self.owner.max(initial=-1) + 2))
        parts = [slice(start, end) for start, end in pairwise(bounds)]
        return [judge_voice(self.p_female[one], self.p_voice[one], self.seconds[one], decision) for one in parts]


@torch.inference_mode()
def listen(recordings: Sequence[Int16Array], hear: Hear) -> Heard:
    """Hear each recording, int16 mono 16 kHz, at least one sample."""
    values, owner, seconds = [torch.zeros(0, 2)], [], []
    waiting: list[npt.NDArray[np.float32]] = []
    for index, pcm in enumerate(recordings):
        for place, segment in enumerate(cut_segments(pcm)):  # a tail that is too short is no segment
            owner.append(index)
            seconds.append(min(pcm.size - place * SEGMENT_SAMPLES, SEGMENT_SAMPLES) / SAMPLE_RATE_HZ)
            waiting.append(pcm_to_float(segment))
            if len(waiting) == _BATCH:
                values.append(hear(torch.from_numpy(np.stack(waiting))))
                waiting.clear()
    if waiting:
        values.append(hear(torch.from_numpy(np.stack(waiting))))
    scores = torch.cat(values).numpy()
    return Heard(scores[:, 0], scores[:, 1], np.array(seconds), np.array(owner, np.int64))


@dataclass(frozen=True)
class Trial:
    """A recording to judge and what would be right: `female`, `male`, or `unknown` where nobody speaks."""

    pcm: Int16Array
    truth: str
    source: str
    groups: tuple[str, ...]


def trials(
    clips: Sequence[Clip],
    recordings: Sequence[Recording],
    config: ClipConfig,
    *,
    acted: Mapping[str, Bank],
    backgrounds: Mapping[str, Bank],
    per_voice: int,
    seed: int,
) -> list[Trial]:
    """All that one side of the split is measured on.

    Parameters
    ----------
    acted
        Made of this side's voices, per gender; a group of its own.
    backgrounds
        What to lay under the voices, by the name of the condition.
    per_voice
        The most clips of one voice.
    """
    rng = np.random.default_rng(seed)
    found: list[Trial] = []
    taken: dict[tuple[str, str], int] = defaultdict(int)
    for index in rng.permutation(len(clips)):
        clip, recording = clips[index], recordings[index]
        if not recording.pcm.size or matches(clip, config.exclude):
            continue
        kind = kind_of(clip, config)
        voice = (clip.source, clip.speaker if clip.gender else clip.path.name)
        if kind == "speech" and clip.gender and taken[voice] < per_voice:
            taken[voice] += 1
            truth = GENDERS[clip.gender]
            plain = (f"source {clip.source}", f"language {clip.language[:2] or 'unknown'}")
            found.append(Trial(recording.pcm, truth, clip.source, plain))
            if taken[voice] <= max(1, per_voice // 8):
                changed = _conditions(recording, backgrounds, rng)
                found += [Trial(pcm, truth, clip.source, (name,)) for name, pcm in changed]
        elif kind in VOICELESS:
            found.append(Trial(recording.pcm, "unknown", clip.source, (kind,)))
    for gender, bank in acted.items():
        found += [Trial(one.pcm, GENDERS[gender], one.source, ("acted",)) for one in bank.recordings]
    return found


def _conditions(
    recording: Recording, backgrounds: Mapping[str, Bank], rng: np.random.Generator
) -> Iterator[tuple[str, Int16Array]]:
    samples = pcm_to_float(recording.pcm)
    yield "room", _int16(effects.colour(samples, rng, room=True, equaliser=False))
    yield "telephone", round_trip(recording.pcm, _TELEPHONE, sample_rate_hz=SAMPLE_RATE_HZ)
    for name, bank in backgrounds.items():
        back = np.resize(pcm_to_float(bank.draw(rng).pcm), samples.size)
        level, other = effects.rms(samples), effects.rms(back)
        gain = level / max(other, 1e-6) * 10 ** (-_UNDER_DB / 20)
        yield f"{name} {_UNDER_DB:.0f} dB under", _int16(samples + np.float32(gain) * back)
    half = SAMPLE_RATE_HZ // 2
    if samples.size > half:
        power = np.convolve(10 ** (frame_levels_db(samples) / 10), np.ones(50), mode="valid")
        start = int(np.argmax(power)) * (SAMPLE_RATE_HZ // 100)
        yield "half a second", recording.pcm[start : start + half]


def _int16(samples: npt.NDArray[np.float32]) -> Int16Array:
    peak = max(1.0, float(np.abs(samples).max()))
    return np.asarray(np.rint(samples / peak * 32767), np.int16)


def report(tried: Sequence[Trial], heard: Heard, decision: Mapping[str, float]) -> dict[str, Any]:
    """Figures of trials, ready for JSON.

    `clips`: right of all clips with a gender, as recorded. `answered`: the same without those judged
    `unknown`. `groups`: one row per gender and group, and one per kind of voiceless clips, with the
    shares of right answers, of `unknown`, and the interval by Wilson.
    """
    said = [verdict.voice_gender for verdict in heard.verdicts(decision)]
    rows: dict[tuple[str, str], list[tuple[bool, bool, str]]] = defaultdict(list)
    for trial, answer in zip(tried, said, strict=True):
        for group in trial.groups:
            rows[trial.truth, group].append((answer == trial.truth, answer == "unknown", trial.source))
    recorded = [one for (_, group), found in rows.items() if group.startswith("source ") for one in found]
    answered = [one for one in recorded if not one[1]]
    groups = []
    for (truth, group), found in sorted(rows.items()):
        right = share([one[0] for one in found], [one[2] for one in found]).to_json()
        unknown = round(sum(one[1] for one in found) / len(found), 4)
        groups.append({"truth": truth, "group": group, **right, "unknown": unknown})
    return {
        "clips": share([one[0] for one in recorded], [one[2] for one in recorded]).to_json(),
        "answered": share([one[0] for one in answered], [one[2] for one in answered]).to_json(),
        "groups": groups,
    }


def cheapest(tried: Sequence[Trial], heard: Heard, *, wrong_costs: float) -> dict[str, float]:
    """The thresholds under which wrong answers and abstentions cost least.

    An abstention on a voice costs 1, a wrong answer `wrong_costs`; on what is voiceless any answer
    costs as a wrong one. Each source or condition weighs the same, however many its trials, and all
    that is voiceless a third of the whole.
    """
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for trial in tried:
        counts[trial.truth, trial.groups[0]] += 1
    weights = np.array([1 / counts[one.truth, one.groups[0]] for one in tried])
    truth = np.array([one.truth for one in tried])
    voiceless = truth == "unknown"
    if voiceless.any() and not voiceless.all():
        weights[voiceless] *= weights[~voiceless].sum() / weights[voiceless].sum() / 2
    best, chosen = np.inf, {"abstain_below": 0.5, "voice_at": 0.5}
    for voice_at in (0.2, 0.3, 0.4, 0.5, 0.6):
        for abstain_below in (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9):
            decision = {"abstain_below": abstain_below, "voice_at": voice_at}
            said = np.array([verdict.voice_gender for verdict in heard.verdicts(decision)])
            cost = np.where(said == truth, 0.0, np.where(said == "unknown", 1.0, wrong_costs))
            total = float(weights @ cost)
            if total < best - 1e-9:
                best, chosen = total, decision
    return chosen
