"""Which songs of an index are heard in a recording, from when to when.

Hits of one song that lie on a line ``place in song = rate * place in recording + start`` are votes for it.
Each candidate is then put to the test by the song's peaks themselves, which are more than the votes: where
the line says that a peak must be, is there one? Under the song it is there with a probability `p`, elsewhere
with a probability `q` that depends on how dense the recording is, and on how much of it is the same notes
anyway. `q` is measured with decoys, the same song laid where it is not. A peak then counts ``log(p / q)`` if
it is there and ``log((1 - p) / (1 - q))`` if not, averaged over `p` as it may be in each half second, and the
stretch with the greatest sum is where the song is heard. That sum is the *score*, in nats. Chance gives sums
of any size, greater ones exponentially more rarely (Karlin and Altschul, 1990, on segments of maximal score).

Matches that overlap in time compete, and the one with the greatest score stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from catalog_tagger.fingerprints.index import Hits, SongIndex
from catalog_tagger.fingerprints.landmarks import BINS, HOP_S, SHOW_FAN, Peaks, landmarks_of

#: bins by which a song may be transposed; a semitone is 2
TRANSPOSED_BINS: Final = 3
#: rates of speed that are looked for, as a deviation from 1
FASTEST: Final = 0.03
LEAST_SCORE: Final = 45.0

_SLOT: Final = 16  # hops: votes of one song within a slot of offsets are looked at together
_WINDOW: Final = 512  # hops, 12 s
_FEWEST_VOTES: Final = 3
_LINES_OF_A_SONG: Final = 8
_CANDIDATES: Final = 400
_FEWEST_PEAKS: Final = 10
_NEAR: Final = 24.0
_ON_THE_LINE: Final = 1.6
_RATE_STEP: Final = 0.002
_AGREED: Final = 0.7
_DECOYS: Final = np.array([-413, -331, -263, -197, -149, -101, -67, 67, 101, 149, 197, 263, 331, 413], np.float64)
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
    share
        Of the song's peaks that are there.
    """

    song: int
    start_s: float
    end_s: float
    song_start_s: float
    rate: float
    bins: int
    score: float
    share: float


@dataclass(frozen=True)
class _Line:
    """``frame in song = rate * frame + start``, and a transposition."""

    song: int
    start: float
    rate: float
    bins: int


def find_songs(index: SongIndex, peaks: Peaks, *, least_score: float = LEAST_SCORE) -> list[Match]:
    """The songs that are heard in a recording, in the order of their starts.

    Parameters
    ----------
    peaks
        Of the recording, up to `peaks.SHOW_PEAKS` of a segment.
    least_score
        Below which a match is not believed.
    """
    hits = index.hits(landmarks_of(peaks, fan=SHOW_FAN), bins=TRANSPOSED_BINS)
    there = _map(peaks)
    found = [_tested(index.peaks[line.song], line, there) for line in _lines(hits)]
    kept: list[Match] = []
    for match in sorted((one for one in found if one is not None), key=lambda one: (-one.score, one.song)):
        if match.score >= least_score and all(_overlap_s(match, other) <= 0.5 * _length_s(match) for other in kept):
            kept.append(match)
    return sorted(kept, key=lambda one: one.start_s)


def _lines(hits: Hits) -> list[_Line]:
    """Lines through hits of one song, those that chance explains least first.

    A drone or a loop resembles itself at every offset, and all the time: what counts is how far the hits of a
    slot of offsets in a window of time exceed what the song has there in a slot on average.
    """
    lines: list[_Line] = []
    told: dict[int, list[float]] = {}
    for chosen in _crowded(hits):
        song, offset = int(hits.song[chosen[0]]), float(np.median(hits.offset[chosen]))
        seen = told.setdefault(song, [])
        if len(seen) < _LINES_OF_A_SONG and all(abs(offset - other) > _SLOT / 2 for other in seen):
            seen.append(offset)
            lines.append(_line(hits, chosen))
            if len(lines) == _CANDIDATES:
                break
    return lines


def _crowded(hits: Hits) -> list[npt.NDArray[np.int64]]:
    """Places of hits that share a song, a slot of offsets, a window and a transposition; most surprising first."""
    if not len(hits):
        return []
    slots = float(np.ptp(hits.offset)) / _SLOT + 1.0
    found: list[tuple[float, int, npt.NDArray[np.int64]]] = []
    for half_slot in (0.0, 0.5):
        slot = np.floor(hits.offset / _SLOT + half_slot).astype(np.int64)
        slot -= slot.min()
        for half_window in (0.0, 0.5):
            window = np.floor(hits.frame / _WINDOW + half_window).astype(np.int64)
            heard = hits.song.astype(np.int64) << 16 | window
            _, place, usual = np.unique(heard, return_inverse=True, return_counts=True)
            group = (heard << 24 | slot) << 4 | hits.bins + TRANSPOSED_BINS
            order = np.argsort(group, kind="stable")
            first = np.flatnonzero(np.r_[True, np.diff(group[order]) > 0])
            votes = np.diff(np.append(first, len(order)))
            expected = usual[place[order[first]]] / (slots * (2 * TRANSPOSED_BINS + 1))
            surprise = votes * np.log(votes / expected) - votes + expected
            likely = np.flatnonzero((votes >= _FEWEST_VOTES) & (votes > expected))
            for one in likely[np.argsort(-surprise[likely], kind="stable")][: 2 * _CANDIDATES]:
                chosen = order[first[one] : first[one] + votes[one]]
                found.append((-float(surprise[one]), int(chosen[0]), chosen))
    return [chosen for *_, chosen in sorted(found, key=lambda one: one[:2])]


def _line(hits: Hits, votes: npt.NDArray[np.int64]) -> _Line:
    song = int(hits.song[votes[0]])
    low = int(hits.bins[votes].min())
    bins = int(np.bincount(hits.bins[votes] - low).argmax()) + low
    offset = float(np.median(hits.offset[votes][hits.bins[votes] == bins]))
    own = hits.of(song)
    near = (np.abs(hits.offset[own] - offset) < _NEAR) & (np.abs(hits.bins[own] - bins) <= 1)
    start, rate = _fitted(hits.frame[own][near].astype(np.float64), hits.offset[own][near].astype(np.float64))
    return _Line(song=song, start=start, rate=rate, bins=bins)


def _fitted(frame: Floats, offset: Floats) -> tuple[float, float]:
    """Start and rate of the line that most votes lie on; the rate is 1 unless they say otherwise."""
    most, slope, start = 0, 0.0, 0.0
    for tried in sorted(np.arange(-FASTEST, FASTEST + 1e-9, _RATE_STEP), key=abs):
        sorted_starts = np.sort(offset - tried * frame)
        inside = np.searchsorted(sorted_starts, sorted_starts + 2.0, side="right") - np.arange(len(sorted_starts))
        best = int(inside.argmax())
        if inside[best] > 1.08 * most + (most > 0):
            most, slope, start = int(inside[best]), float(tried), float(sorted_starts[best] + 1.0)
        if most > _AGREED * len(frame):
            break
    for _ in range(3):
        on = np.abs(offset - start - slope * frame) <= _ON_THE_LINE
        if on.sum() < 3:
            break
        x, y = frame[on], offset[on]
        if on.sum() >= 8 and x.std() > 40:
            steeper = float(np.cov(x, y, bias=True)[0, 1] / x.var())
            uncertain = 0.6 / (x.std() * np.sqrt(on.sum()))
            slope = steeper if abs(steeper) > 3 * uncertain else 0.0
        start = float((y - slope * x).mean())
    return start, 1.0 + slope


def _map(peaks: Peaks) -> Bools:
    """Whether there is a peak within a frame and a bin [shape=(frames, bins)]."""
    frames = int(peaks.frame[-1]) + 3 if len(peaks) else 1
    near = np.zeros((frames + 2, BINS + 2), bool)
    frame = np.rint(peaks.frame).astype(np.int64) + 1
    for later in (-1, 0, 1):
        for higher in (-1, 0, 1):
            near[frame + later, peaks.bin + 1 + higher] = True
    return near[1:-1, 1:-1]


def _tested(song: Peaks, line: _Line, there: Bools) -> Match | None:
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
        share=float(is_there[first:last].mean()),
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
