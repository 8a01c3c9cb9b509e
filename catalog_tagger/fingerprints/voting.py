"""Candidates: which songs of an index may be heard in a recording, and how they lie in it.

Hits of one song that lie on a line ``place in song = rate * place in recording + start`` are votes for it. They
are counted in windows of 12 s that overlap by half: hits of a window that share a song and a transposition and
whose offsets lie within a slot. A drone or a loop resembles itself at every offset and all the time, so
what counts is not the number of votes but the *surprise*: how far they exceed what the song has in that window in a
slot on average. What surprises most is looked at more closely (`_agreement`): how many of all peaks that the song has
in that window are there, beside how many would be anyway. What either way puts first are the candidates, so many
for each second; a line is laid through the hits near them.

A show with much music has millions of hits, nearly all of them by chance. They are looked at in stretches, each
hit packed into one number whose order is that of windows, songs, transpositions and offsets: three votes are three
numbers that lie close together in the sorted list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from catalog_tagger.fingerprints.index import SONG_APART, Hits, Ranges, SongIndex
from catalog_tagger.fingerprints.landmarks import HOP_S, Landmarks

#: bins by which a song may be transposed; a semitone is 2
TRANSPOSED_BINS: Final = 3
#: rates of speed that are looked for, as a deviation from 1
FASTEST: Final = 0.03

_SLOT: Final = 16  # hops: at the fastest rate a line moves by so much in a window
_HALF_WINDOW: Final = 256  # hops, 6 s
_FEWEST_VOTES: Final = 3
_LINES_OF_A_SONG: Final = 8
#: of each second, and of a short recording: crowds that are looked at, and candidates by each of two orders
_CROWDS_PER_S: Final = 15.0
_CANDIDATES_PER_S: Final = 0.5
_LEAST_S: Final = 60.0
#: hits that are held at a time
_MOST_HITS: Final = 1 << 22

_NEAR: Final = 24.0
_ON_THE_LINE: Final = 1.6
#: deviations from rate 1, the small ones first, which a greater one has to beat by so much
_RATES: Final = np.array(sorted(np.arange(-15, 16) * FASTEST / 15, key=abs))
_BETTER: Final = 1.08

# bits of a packed hit, from the right: offset in hops, transposition, song, window
_OFFSET_BITS: Final = 23
_SONG_AT: Final = _OFFSET_BITS + 3
_WINDOW_AT: Final = _SONG_AT + 24
MOST_SONGS: Final = 1 << 24
_ZERO_OFFSET: Final = 1 << (_OFFSET_BITS - 1)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Line:
    """``frame in song = rate * frame + start``, and a transposition."""

    song: int
    start: float
    rate: float
    bins: int


@dataclass(frozen=True)
class _Crowd:
    """Hits that agree, by what they have in common."""

    song: int
    bins: int
    offset: float
    frame: float
    """Where their window begins."""
    surprise: float


def lines_of(index: SongIndex, landmarks: Landmarks, there: Bools) -> list[Line]:
    """Lines through hits of one song, candidates for `matching`.

    Parameters
    ----------
    landmarks
        Of the recording, by frame.
    there
        Whether it has a peak within a frame and a bin [shape=(frames, bins)].
    """
    ranges = index.ranges(landmarks, bins=TRANSPOSED_BINS)
    lines: list[Line] = []
    for stretch, seconds in _stretches(landmarks, ranges):
        hits = index.hits(landmarks, stretch)
        length_s = max(seconds, _LEAST_S)
        crowds = _crowds(hits, index.lengths, most=round(length_s * _CROWDS_PER_S))
        crowds = _likeliest(crowds, _agreement(index, crowds, there), most=round(length_s * _CANDIDATES_PER_S))
        songs = np.unique(np.array([crowd.song for crowd in crowds], np.int64))
        own = hits.only(songs, among=len(index.peaks))
        lines += [_line(own, crowd) for crowd in crowds]
    return lines


def _stretches(landmarks: Landmarks, ranges: Ranges) -> Iterator[tuple[Ranges, float]]:
    """The ranges of stretches of a recording that have about `_MOST_HITS` hits, and the seconds they cover."""
    half = np.floor(landmarks.frame[ranges.landmark] / _HALF_WINDOW).astype(np.int64)
    if not len(half):
        return
    hits = np.bincount(half, ranges.count)
    covered = np.bincount(np.unique(np.floor(landmarks.frame / _HALF_WINDOW).astype(np.int64)), minlength=len(hits))
    stretch = (np.cumsum(hits) / _MOST_HITS).astype(np.int64)
    for number in np.unique(stretch):
        inside = stretch == number
        chosen = np.flatnonzero(inside[half])
        if len(chosen):
            seconds = float(covered[: len(inside)][inside].sum()) * _HALF_WINDOW * HOP_S
            yield Ranges(ranges.landmark[chosen], ranges.low[chosen], ranges.count[chosen]), seconds


def _crowds(hits: Hits, lengths: Floats, *, most: int) -> list[_Crowd]:
    """Hits that share a window, a song, a slot of offsets and a transposition; those that surprise most."""
    half = np.floor(hits.frame / _HALF_WINDOW).astype(np.int64)
    first = int(half.min(initial=1 << 40))
    packed = (hits.song.astype(np.int64) << 3 | (hits.bins.astype(np.int64) + TRANSPOSED_BINS)) << _OFFSET_BITS
    packed |= np.rint(hits.offset).astype(np.int64) + _ZERO_OFFSET
    codes, surprises, middles = [], [], []
    for shift in (0, 1):
        found = packed | ((half - first + shift) >> 1) << _WINDOW_AT
        found.sort()
        crowded, surprising, middle = _surprises(found, lengths)
        codes.append(crowded | np.int64(shift) << 62)
        surprises.append(surprising)
        middles.append(middle)
    code, surprise, offsets = np.concatenate(codes), np.concatenate(surprises), np.concatenate(middles)
    crowds: list[_Crowd] = []
    told: dict[int, list[float]] = {}
    for one in np.argsort(-surprise, kind="stable"):
        shift, rest = divmod(int(code[one]), 1 << 62)
        song, offset = rest >> _SONG_AT & (MOST_SONGS - 1), float(offsets[one])
        seen = told.setdefault(song, [])
        if len(seen) < _LINES_OF_A_SONG and all(abs(offset - other) > _SLOT / 2 for other in seen):
            seen.append(offset)
            window = 2 * (rest >> _WINDOW_AT) - shift + first
            bins = (rest >> _OFFSET_BITS & 7) - TRANSPOSED_BINS
            crowds.append(_Crowd(song, bins, offset, float(window * _HALF_WINDOW), float(surprise[one])))
            if len(crowds) == most:
                break
    return crowds


def _surprises(code: Ints, lengths: Floats) -> tuple[Ints, Floats, Floats]:
    """Crowds of a sorted list of packed hits: the first hit, how surprising they are, the middle of their offsets."""
    rest = _FEWEST_VOTES - 1
    at = np.flatnonzero(code[rest:] - code[: max(len(code) - rest, 0)] <= _SLOT)
    if not len(at):
        return code[:0], np.zeros(0), np.zeros(0)
    first = code[at]
    votes = _votes(code, at, first)
    of_song = code >> _SONG_AT
    begins = _changes(of_song)
    counts = np.diff(np.append(begins, len(code)))
    usual = counts[np.searchsorted(begins, at, side="right") - 1]
    slots = (lengths[first >> _SONG_AT & (MOST_SONGS - 1)] + 2 * _HALF_WINDOW) / _SLOT + 1.0
    expected = usual / (slots * (2 * TRANSPOSED_BINS + 1))
    surprise = np.where(votes > expected, votes * np.log(votes / expected) - votes + expected, 0.0)
    # of those that lie in a slot together one is enough
    cells = _changes(first // _SLOT)
    greatest = np.maximum.reduceat(surprise, cells)
    likely = np.flatnonzero(surprise == np.repeat(greatest, np.diff(np.append(cells, len(at)))))
    likely = likely[_changes(first[likely] // _SLOT)]
    middle = code[at[likely] + votes[likely] // 2] & (1 << _OFFSET_BITS) - 1
    return first[likely], surprise[likely], (middle - _ZERO_OFFSET).astype(np.float64)


def _changes(values: Ints) -> Ints:
    """Where a list differs from what is before, its first place among them."""
    return np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1])


def _votes(code: Ints, at: Ints, first: Ints) -> Ints:
    """Hits from each of `at` on that lie within a slot; few have more than the fewest, so they are counted up."""
    votes = np.full(len(at), _FEWEST_VOTES)
    more = np.arange(len(at))
    while len(more):
        following = at[more] + votes[more]
        more = more[(following < len(code)) & (code[np.minimum(following, len(code) - 1)] - first[more] <= _SLOT)]
        votes[more] += 1
    return votes


def _agreement(index: SongIndex, crowds: Sequence[_Crowd], there: Bools) -> Floats:
    """How far the peaks of each crowd's song in its window that are there exceed those that would be, in deviations.

    What would be there anyway is told by how often the recording has a peak in that bin in that window.
    """
    if not crowds:
        return np.zeros(0)
    song, bins, offset, begin, _ = (np.array(column) for column in zip(*map(astuple, crowds), strict=True))
    end = np.minimum(begin + 2 * _HALF_WINDOW, len(there))
    begin = np.maximum(begin, 0)
    low = np.searchsorted(index.places, song * SONG_APART + np.maximum(begin + offset, 0))
    count = np.maximum(np.searchsorted(index.places, song * SONG_APART + np.maximum(end + offset, 0)) - low, 0)
    crowd = np.repeat(np.arange(len(crowds)), count)
    peak = np.arange(len(crowd)) + np.repeat(low - (np.cumsum(count) - count), count)
    frame = index.places[peak] - (song * SONG_APART + offset)[crowd]
    bin_ = index.bins[peak] - bins[crowd]
    inside = (bin_ >= 0) & (bin_ < there.shape[1])
    crowd, frame, bin_ = crowd[inside], frame[inside], bin_[inside]
    halves = np.add.reduceat(there, np.arange(0, len(there), _HALF_WINDOW), axis=0, dtype=np.float64)
    half = np.clip(frame // _HALF_WINDOW, 0, len(halves) - 1).astype(int)
    usual = np.clip(halves / _HALF_WINDOW, 0.01, 0.99)[half, bin_]
    expected = np.bincount(crowd, usual, minlength=len(crowds))
    variance = np.bincount(crowd, usual * (1 - usual), minlength=len(crowds)) + 1.0
    found = [
        np.bincount(crowd, there[np.clip(np.rint(frame + later), 0, len(there) - 1).astype(int), bin_], len(crowds))
        for later in (-1.5, 0.0, 1.5)
    ]
    deviations: Floats = (np.max(found, axis=0) - expected) / np.sqrt(variance)
    return deviations


def _likeliest(crowds: Sequence[_Crowd], agreement: Floats, *, most: int) -> list[_Crowd]:
    """Those that surprise most, and those that agree most: a song played too fast does not agree all the window."""
    chosen = set(range(min(most, len(crowds)))) | set(np.argsort(-agreement, kind="stable")[:most].tolist())
    return [crowds[one] for one in sorted(chosen)]


def _line(hits: Hits, crowd: _Crowd) -> Line:
    """The line that the hits near a crowd lie on."""
    own = hits.of(crowd.song)
    frame, offset, bins = hits.frame[own], hits.offset[own], hits.bins[own]
    near = (np.abs(offset - crowd.offset) <= _SLOT / 2 + 1) & (bins == crowd.bins)
    near &= (frame >= crowd.frame) & (frame < crowd.frame + 2 * _HALF_WINDOW)
    middle = float(np.median(offset[near]))
    near = (np.abs(offset - middle) < _NEAR) & (np.abs(bins - crowd.bins) <= 1)
    start, rate = _fitted(frame[near].astype(np.float64), offset[near].astype(np.float64))
    return Line(song=crowd.song, start=start, rate=rate, bins=crowd.bins)


def _fitted(frame: Floats, offset: Floats) -> tuple[float, float]:
    """Start and rate of the line that most votes lie on; the rate is 1 unless they say otherwise."""
    starts = np.floor(offset - _RATES[:, None] * frame).astype(np.int64)
    starts -= starts.min()
    width = int(starts.max()) + 2
    votes = np.bincount((starts + width * np.arange(len(_RATES))[:, None]).ravel(), minlength=width * len(_RATES))
    by_rate = votes.reshape(len(_RATES), width)
    best = (by_rate[:, :-1] + by_rate[:, 1:]).max(axis=1)
    chosen = 0
    for rate in range(1, len(_RATES)):
        if best[rate] > _BETTER * best[chosen] + 1:
            chosen = rate
    slope = float(_RATES[chosen])
    sorted_starts = np.sort(offset - slope * frame)
    inside = np.searchsorted(sorted_starts, sorted_starts + 2.0, side="right") - np.arange(len(sorted_starts))
    start = float(sorted_starts[inside.argmax()] + 1.0)
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
