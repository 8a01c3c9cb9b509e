"""From the scores of a track's segments to its tags.

The score of a track's tag is the mean probability over its segments, weighted by their seconds: the share
of the track that the tag is expected to be heard in. Segments keep their likely tags alone, rounded: most
of what a tagger says of 5 s is that all the rest is absent, and rows are written 720 times per hour. What
is kept is measured in `tests/bench/bench_bundles.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from catalog_tagger.tables.schemas import TAG_LIST

#: of a track: a tag that is expected in less of it is left out
TRACK_FLOOR: Final = 0.01
#: of a segment: less likely tags are left out, and all but the most likely
SEGMENT_FLOOR: Final = 0.1
SEGMENT_MOST: Final = 8
#: of a segment: scores are multiples of this, finer than any calibration is true to
SEGMENT_STEP: Final = 0.01


def track_tags(p: npt.NDArray[np.float32], seconds: npt.NDArray[np.float64], tags: Sequence[str]) -> dict[str, float]:
    """Tag -> expected share of the track, the greatest first, without what is below `TRACK_FLOOR`.

    Parameters
    ----------
    p
        Shape (segments, tags): calibrated probabilities.
    seconds
        Shape (segments,): seconds of audio in each, more than 0.
    """
    shares = np.asarray(seconds, np.float64) @ p.astype(np.float64) / np.sum(seconds)
    order = np.argsort(-shares, kind="stable")
    return {tags[i]: float(shares[i]) for i in order if shares[i] >= TRACK_FLOOR}


def segment_tags(p: npt.NDArray[np.float32], tags: Sequence[str]) -> pa.ListArray:
    """The likely tags of each segment, the likeliest first.

    Parameters
    ----------
    p
        Shape (segments, tags): calibrated probabilities.

    Returns
    -------
    pyarrow.ListArray
        Of type `TAG_LIST`, one list per segment.
    """
    steps = np.round(p.astype(np.float64) / SEGMENT_STEP)
    order = np.argsort(-p, axis=1, kind="stable")[:, :SEGMENT_MOST]
    likely = np.take_along_axis(steps, order, axis=1)
    kept = likely >= round(SEGMENT_FLOOR / SEGMENT_STEP)
    offsets = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int32)
    names = pa.array(tags, pa.string()).take(pa.array(order[kept], pa.int64()))
    scores = pa.array((likely[kept] * SEGMENT_STEP).astype(np.float32))
    entries = pa.StructArray.from_arrays([names, scores], fields=list(TAG_LIST.value_type))
    return pa.ListArray.from_arrays(pa.array(offsets), entries, type=TAG_LIST)
