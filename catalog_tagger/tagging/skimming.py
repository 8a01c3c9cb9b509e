"""Which few segments of a track to hear, and when they are enough to know what the whole would be heard as.

A track of `n` segments is heard at places spread evenly over it, some at first (a *look*), more of them between where
these leave it open. After each look one question is asked: would hearing the whole still change its content type?

Music is what can be settled so. It stays music unless speech is heard in a quarter as much of it as music, so

    P(changed) <= P(speech in at least `_SPEECH` of its segments) + P(music missing in at least `_NO_MUSIC` of them)

with 0.15 = 0.25 x (1 - 0.4). Each of the two is a hidden chain z_1 ... z_n of segments that have the thing or not, of
which some are seen. Before anything is heard it is one of these, `_WEIGHTED` (chances, share, mean run):

- with 1 - `_SUSPECTED`: nothing of the kind but stray errors, `_STRAY` of the segments, independent of each other;
- else a Markov chain that begins with share a, by equal chances 0.1 ... 0.9 or 0.98, whose runs last 1 / p10 segments
  in the mean (10 s to two minutes), p01 = min(1, p10 a / (1 - a)), which keeps the share at a where it is less than 1:
  talk comes in stretches, which places close to each other meet together, and places far apart one by one.

A segment that was heard has the thing by its score; a score tells `_TOLD` to one. The forward recursion over segments,
with the number of those that have it as part of the state, gives both the likelihood of what was heard and P(enough of
them | heard) exactly. That is a sequential test in the sense of Wald (1945), whose hypotheses are the decisions of the
scan: it stops when the bound falls to `ERROR`, and gives up when it rises over `_HOPELESS`. Of tracks that stop with
"music", the share in which a scan would meet enough segments on the other side of 0.5 is at most that, as far as the
chances above hold; over a catalogue they are too wary, since far fewer than one music track in ten holds talk.

The bound says nothing of scores near 0.5, which `content` lets fall on either side of its level together: the verdict
on the sample has to be music with `_SURE`, too, and what that leaves is measured, not derived.

Nothing but music stops early: what holds speech may hold songs, which are looked for in the whole of it. Tracks under
`SHORTEST` segments are scanned, as looking here and there saves little; so are those over `LONGEST`, since a long
track of music may be a show that plays songs.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from catalog_tagger.audio import SEGMENT_S
from catalog_tagger.tagging.content import judge

Depth = Literal["skim", "scan", "auto"]
#: segments of the tracks that are not scanned at once: two minutes to a quarter of an hour
SHORTEST: Final = 24
LONGEST: Final = 180
#: a track of which less than this was not heard was heard whole: the end of one may make no segment
_WHOLE_WITHIN_S: Final = 1.0
#: `heard_in_part` for an engine, of a row of ``tracks``; null where nothing was heard
IN_PART_SQL: Final = f"scanned_s < duration_s - {_WHOLE_WITHIN_S}"
#: of a track that stops early: the chance that the scan would say otherwise
ERROR: Final = 0.003

#: sizes of the looks, in units of the first
_LOOKS: Final = (1.0, 1.5, 2.0, 3.0)
_SPEECH: Final = 0.15
_NO_MUSIC: Final = 0.4
_SUSPECTED: Final = 0.1
_STRAY: Final = 0.01
_SHARES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.98)
_RUNS: Final = (2, 4, 8, 24)
_TOLD: Final = 49.0
_HOPELESS: Final = 0.3
_SURE: Final = 0.6
#: first looks are worked out for these lengths; a track has that of the next
_LENGTHS: Final = (24, 36, 48, 72, 96, 120, 150, LONGEST)

Decision = Literal["enough", "more", "scan"]
Bools = npt.NDArray[np.bool_]


def _prior() -> npt.NDArray[np.float64]:
    """Rows of (chance, share, p01, p10)."""
    rows = [(1.0 - _SUSPECTED, _STRAY, _STRAY, 1.0 - _STRAY)]
    chance = _SUSPECTED / (len(_SHARES) * len(_RUNS))
    for share in _SHARES:
        for run in _RUNS:
            rows.append((chance, share, min(1.0, share / (1.0 - share) / run), 1.0 / run))
    return np.array(rows)


_WEIGHTED: Final = _prior()


def chance_of_share(n_segments: int, heard: npt.NDArray[np.int64], has: Bools, *, share: float) -> float:
    """P(at least `share` of a track's segments have something | which of those that were heard do).

    Parameters
    ----------
    heard
        Places of the segments, ascending [shape=(heard,)].
    has
        Whether each has it [shape=(heard,)].
    """
    chance, stationary, p01, p10 = _WEIGHTED.T[:, :, None]
    odds = np.ones(n_segments)
    odds[heard] = np.where(has, _TOLD, 1.0 / _TOLD)
    enough = math.ceil(share * n_segments)
    # by component and number of segments so far that have it, the last one without it and with it
    without = np.zeros((len(chance), enough + 1))
    without[:, :1] = 1.0 - stationary
    having = np.zeros_like(without)
    having[:, min(1, enough)] = stationary[:, 0] * odds[0]
    for weight in odds[1:]:
        following = without * p01 + having * (1.0 - p10)
        without = without * (1.0 - p01) + having * p10
        having = np.zeros_like(without)
        having[:, 1:] = following[:, :-1]
        having[:, -1] += following[:, -1]
        having *= weight
    likely = chance[:, 0] * (without + having).sum(axis=1)
    return float((chance[:, 0] * (without + having)[:, -1]).sum() / likely.sum())


@lru_cache(maxsize=4096)
def _chance(n_segments: int, heard: tuple[int, ...], has: tuple[bool, ...], share: float) -> float:
    """Most tracks show nothing of the kind at the same places as the track before."""
    return chance_of_share(n_segments, np.array(heard), np.array(has, dtype=bool), share=share)


def _bound(n_segments: int, heard: tuple[int, ...], speech: Bools, no_music: Bools) -> float:
    """Upper bound of the chance that hearing the whole changes music into something else."""
    if n_segments > LONGEST:  # shares and runs are as of a track so long
        heard = tuple(place * LONGEST // n_segments for place in heard)
        n_segments = LONGEST
    told = ((speech, _SPEECH), (no_music, _NO_MUSIC))
    return sum(_chance(n_segments, heard, tuple(has.tolist()), share) for has, share in told)


@lru_cache(maxsize=len(_LENGTHS))
def _first_look(length: int) -> int:
    """The fewest places at which clear music of just that length is settled."""
    for count in range(2, length):
        nothing = np.zeros(count, dtype=bool)
        if _bound(length, _even(length, count), nothing, nothing) <= ERROR:
            return count
    return length


def _even(n_segments: int, count: int) -> tuple[int, ...]:
    return tuple(((2 * place + 1) * n_segments) // (2 * count) for place in range(count))


@lru_cache(maxsize=4096)
def places(n_segments: int, look: int) -> tuple[int, ...]:
    """Segments that have been heard after a look, ascending; those of earlier looks are among them.

    Each further one lies in the middle of the widest stretch that nothing was heard of.
    """
    first = _first_look(next(length for length in (*_LENGTHS, n_segments) if length >= min(n_segments, LONGEST)))
    chosen = list(_even(n_segments, first))
    while len(chosen) < min(n_segments, math.ceil(first * _LOOKS[look])):
        ends = [-1, *sorted(chosen), n_segments]
        width, begin = max((after - before, -before) for before, after in pairwise(ends))
        chosen.append(-begin + width // 2)
    return tuple(sorted(chosen))


def new_places(n_segments: int, look: int) -> tuple[int, ...]:
    """Segments that a look adds, ascending."""
    before = places(n_segments, look - 1) if look else ()
    return tuple(place for place in places(n_segments, look) if place not in before)


def heard_in_part(scanned_s: float | None, duration_s: float) -> bool:
    """Whether a few segments of a track were heard, by its row of ``tracks``."""
    return scanned_s is not None and scanned_s < duration_s - _WHOLE_WITHIN_S


def may_skim(n_segments: int, depth: Depth) -> bool:
    """Whether a track of so many segments is heard here and there at first."""
    return depth != "scan" and n_segments >= SHORTEST and (depth == "skim" or n_segments <= LONGEST)


def decide(n_segments: int, look: int, presence: npt.NDArray[np.float32] | None, *, depth: Depth) -> Decision:
    """What to do with a track after a look.

    Parameters
    ----------
    presence
        Probabilities of speech and of music at `places` [shape=(heard, 2)]; None where no bundle tells them.
    depth
        With ``skim`` nothing is scanned: what is open after the last look stays so.
    """
    decision: Decision = "scan"
    if presence is not None:
        decision = _decide(n_segments, look, presence)
    return "enough" if depth == "skim" and decision == "scan" else decision


def _decide(n_segments: int, look: int, presence: npt.NDArray[np.float32]) -> Decision:
    speech, music = presence.T
    bound = _bound(n_segments, places(n_segments, look), speech >= 0.5, music < 0.5)
    if bound > _HOPELESS:
        return "scan"
    verdict = judge(speech, music, np.full(len(presence), SEGMENT_S))
    if verdict.content_type != "music" or verdict.content_confidence < _SURE:
        return "scan"
    if bound <= ERROR:
        return "enough"
    return "more" if look + 1 < len(_LOOKS) else "scan"
