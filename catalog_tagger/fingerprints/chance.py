"""How often chance alone gives a match.

Sums of what peaks speak for a song have a greatest value in every pair of recordings, related or not. Of unrelated
ones, values of `S` and more are expected ``K * m * n * exp(-decay * S)`` times, where `m` seconds are searched in
`n` seconds of songs: the law of segments of maximal score (Karlin and Altschul, PNAS 87, 1990, equation 2).
Were all recordings independent of each other, `decay` would be 1. Music is made of the same notes, chords and
drum loops, so it is less: both numbers were fitted to 51 wrong matches from 20 nats on, in 38 minutes of music in
shows, searched in 300 minutes of other music.

Expected:  20 nats 47, 30 nats 10, 40 nats 2.3.  Found:  51, 13, 3.
"""

from __future__ import annotations

import math
from typing import Final

_DECAY: Final = 0.15
_PER_SQUARE_SECOND: Final = 2.5e-5
#: of a track
MOST_FALSE: Final = 0.003


def expected_false_matches(score: float, *, searched_s: float, songs_s: float) -> float:
    """How many matches of at least that score chance gives a recording.

    Parameters
    ----------
    score
        Of a `matching.Match`, in nats.
    searched_s
        Seconds with music of the recording.
    songs_s
        Seconds of all songs.
    """
    return _PER_SQUARE_SECOND * searched_s * songs_s * math.exp(-_DECAY * score)


def least_score(*, searched_s: float, songs_s: float, most_false: float = MOST_FALSE) -> float:
    """The score from which on chance gives at most `most_false` matches."""
    return max(0.0, math.log(max(_PER_SQUARE_SECOND * searched_s * songs_s, 1e-9) / most_false) / _DECAY)
