"""Which songs of an index are heard in a recording, from when to when.

Each candidate of `voting` is put to the test by the song's peaks themselves, which are more than the votes: where
its line says that a peak must be, is there one? Under the song it is there with a probability `p`, elsewhere
with a probability `q` that depends on how dense the recording is, and on how much of it is the same notes
anyway. `q` is measured with decoys, the same song laid where it is not. A peak then counts ``log(p / q)`` if
it is there and ``log((1 - p) / (1 - q))`` if not, averaged over `p` as it may be in each half second, and the
stretch with the greatest sum is where the song is heard. That sum is the *score*, in nats. Chance gives sums
of any size, greater ones exponentially more rarely (`chance`).

Matches that overlap in time compete, and the one with the greatest score stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from catalog_tagger.fingerprints.index import SongIndex
from catalog_tagger.fingerprints.landmarks import BINS, HOP_S, SHOW_FAN, Peaks, landmarks_of
from catalog_tagger.fingerprints.voting import Line, lines_of

#: in a catalogue of some hundred songs; see `chance` for others
LEAST_SCORE: Final = 50.0

_FEWEST_PEAKS: Final = 10
_DECOYS: Final = np.array([-413, -331, -263, -197, -149, -101, -67, 67, 101, 149, 197, 263, 331, 413], np.float64)
#: nats that a song has to make up for that is heard at another rate or pitch: one in ten is, in one of 200 ways
_ALTERED: Final = 7.0
#: probabilities that a peak of a song is there under the song, from loud speech over it to nothing
_HEARD: Final = np.array([0.30, 0.42, 0.54, 0.66, 0.78, 0.90])
_BLOCK: Final = 0.5 / HOP_S
_BESIDE: Final = 4

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Match:
    """A song that is heard in a recording.

    Attributes
    ----------
    song
        Its number in the index.
    start_s, end_s
        In the recording.
    song_start_s
        Where in the song it starts.
    rate
        Seconds of the song in a second of the recording.
    bins
        By how many bins it sounds lower than the song: 2 are a semitone.
    score
        In nats, see the module's text.
    """

    song: int
    start_s: float
    end_s: float
    song_start_s: float
    rate: float
    bins: int
    score: float


def find_songs(
    index: SongIndex,
    peaks: Peaks,
    *,
    least_score: float = LEAST_SCORE,
    stretches: Sequence[tuple[float, float]] | None = None,
) -> list[Match]:
    """The songs that are heard in a recording, in the order of their starts.

    Parameters
    ----------
    peaks
        Of the recording, up to `peaks.SHOW_PEAKS` of a segment.
    least_score
        Below which a match is not believed.
    stretches
        Where candidates are looked for, as starts and ends in s; by default everywhere.
    """
    there = _map(peaks)
    lines = lines_of(index, landmarks_of(_inside(peaks, stretches), fan=SHOW_FAN), there)
    found = [_tested(index.peaks[line.song], line, there) for line in lines]
    return settled([match for match in found if match is not None and match.score >= least_score])


def settled(matches: Iterable[Match]) -> list[Match]:
    """What stays of matches of one recording that overlap in time: the greatest score, and the rest after it."""
    kept: list[Match] = []
    for match in sorted(matches, key=lambda one: (-one.score, one.song)):
        if all(_overlap_s(match, other) <= 0.5 * _length_s(match) for other in kept):
            kept.append(match)
    return sorted(kept, key=lambda one: one.start_s)


def shares_along(match: Match, song: Peaks, recording: Peaks, *, block_s: float) -> Floats:
    """Of the song's peaks in each stretch of `block_s` of a match, the share that is there; without nearly empty ones.

    Parameters
    ----------
    song, recording
        That the match is of.
    """
    there = _map(recording)
    start = (match.song_start_s - match.rate * match.start_s) / HOP_S
    frame, bins = (song.frame - start) / match.rate, song.bin - match.bins
    known = (frame >= match.start_s / HOP_S) & (frame < match.end_s / HOP_S - 0.5) & (bins >= 0) & (bins < BINS)
    frame, bins = frame[known], bins[known]
    block = ((frame * HOP_S - match.start_s) / block_s).astype(np.int64)
    is_there = there[np.clip(np.rint(frame), 0, len(there) - 1).astype(np.int64), bins]
    peaks, found = np.bincount(block), np.bincount(block, is_there)
    shares: Floats = (found / np.maximum(peaks, 1))[peaks >= _FEWEST_PEAKS]
    return shares


def _inside(peaks: Peaks, stretches: Sequence[tuple[float, float]] | None) -> Peaks:
    if stretches is None:
        return peaks
    bounds = np.array(stretches, np.float64).reshape(-1) / HOP_S
    chosen = np.searchsorted(bounds, peaks.frame, side="right") % 2 == 1
    return Peaks(peaks.frame[chosen], peaks.bin[chosen])


def _map(peaks: Peaks) -> Bools:
    """Whether there is a peak within a frame and a bin [shape=(frames, bins)]."""
    frames = int(peaks.frame[-1]) + 3 if len(peaks) else 1
    near = np.zeros((frames + 2, BINS + 2), bool)
    frame = np.rint(peaks.frame).astype(np.int64) + 1
    for later in (-1, 0, 1):
        for higher in (-1, 0, 1):
            near[frame + later, peaks.bin + 1 + higher] = True
    return near[1:-1, 1:-1]


def _tested(song: Peaks, line: Line, there: Bools) -> Match | None:
    """The stretch in which a song is heard along a line, if there is one."""
    frame = (song.frame - line.start) / line.rate
    bins = song.bin - line.bins
    known = (frame >= -0.5) & (frame < len(there) - 0.5) & (bins >= 0) & (bins < BINS)
    frame, bins = frame[known], bins[known]
    if len(frame) < _FEWEST_PEAKS:
        return None
    is_there = there[np.rint(frame).astype(np.int64), bins]
    gain = _gains(is_there, _chance(frame, bins, there))
    first, last, score = _stretch(frame, gain)
    if line.rate != 1.0 or line.bins:
        score -= _ALTERED
    if last - first < _FEWEST_PEAKS:
        return None
    start, end = float(frame[first]), float(frame[last - 1])
    return Match(
        song=line.song,
        start_s=start * HOP_S,
        end_s=end * HOP_S,
        song_start_s=(line.start + line.rate * start) * HOP_S,
        rate=line.rate,
        bins=line.bins,
        score=score,
    )


def _chance(frame: Floats, bins: npt.NDArray[np.int64], there: Bools) -> Floats:
    """Probability that a peak is there where the song is not, from the decoys."""
    elsewhere = np.rint(frame + _DECOYS[:, None]).astype(np.int64)
    inside = (elsewhere >= 0) & (elsewhere < len(there))
    found = there[np.clip(elsewhere, 0, len(there) - 1), bins] & inside
    each = (found.sum(axis=0) + 0.6) / (inside.sum(axis=0) + 4.0)
    chance: Floats = 0.5 * each + 0.5 * each.mean()
    return chance


def _gains(is_there: Bools, chance: Floats) -> Floats:
    """What each peak speaks for the song, in nats, for each of `_HEARD` [shape=(probabilities, peaks)]."""
    heard = np.clip(np.maximum(_HEARD[:, None], chance + 0.08), 0.02, 0.97)
    gain: Floats = np.where(is_there, np.log(heard / chance), np.log((1 - heard) / (1 - chance)))
    return gain


def _stretch(frame: Floats, gain: Floats) -> tuple[int, int, float]:
    """First and one after the last of the peaks of a song that are heard, and the score.

    How much of a song shows changes with what is said over it: in each half second the probability that a
    peak is there is unknown, and averaged over. The ends are then moved to the peak, by the probability that
    fits the two seconds beside them best.
    """
    block = np.floor(frame / _BLOCK).astype(np.int64)
    begins = np.flatnonzero(np.r_[True, np.diff(block) > 0])
    per_block = np.add.reduceat(gain, begins, axis=1)
    likeliest = per_block.max(axis=0)
    averaged = likeliest + np.log(np.exp(per_block - likeliest).mean(axis=0))
    score, low, high = _greatest_sum(averaged)
    if high == low:
        return 0, 0, 0.0
    bounds = np.append(begins, len(frame))
    head = gain[per_block[:, low : min(low + _BESIDE, high)].sum(axis=1).argmax()]
    begin, end = bounds[max(0, low - 1)], bounds[min(low + 2, len(begins))]
    first = int(begin + np.cumsum(np.append(0.0, head[begin : end - 1])).argmin())
    tail = gain[per_block[:, max(low, high - _BESIDE) : high].sum(axis=1).argmax()]
    begin, end = bounds[max(0, high - 2)], bounds[min(high + 1, len(begins))]
    last = int(begin + np.cumsum(np.append(0.0, tail[begin:end])).argmax())
    return first, last, score


def _greatest_sum(gain: Floats) -> tuple[float, int, int]:
    """Sum, first and one after the last of the stretch with the greatest sum."""
    total = np.concatenate([[0.0], np.cumsum(gain)])
    rise = total - np.minimum.accumulate(total)
    last = int(rise.argmax())
    return float(rise[last]), int(total[: last + 1].argmin()), last


def _length_s(match: Match) -> float:
    return match.end_s - match.start_s


def _overlap_s(one: Match, other: Match) -> float:
    return min(one.end_s, other.end_s) - max(one.start_s, other.start_s)
