"""What Ray starts to tag pieces, and what it is told: without torch, which is imported where models run.

The driver hands the class to Ray and needs no more of it; importing torch there would cost a job's start a second of a
core that is wanted for its actors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy.typing as npt

from catalog_tagger.tagging.skimming import Depth


@dataclass(frozen=True, kw_only=True)
class ActorJob:
    """What an actor needs to know of the job."""

    run_id: str
    warehouse: str
    plan: str
    bundle_ids: tuple[str, ...]
    """What the driver planned with; an actor that loads anything else must not write."""
    bundles: tuple[str, ...]
    device: Literal["auto", "cpu", "gpu"]
    batch_segments: int | None
    precision: Literal["auto", "float32"]
    scoring_threads: int
    """Batches that an actor on a CPU scores at a time."""
    tracks_in_flight: int
    max_duration_s: float
    decode_timeout_s: float
    """Most seconds for a minute of audio."""
    decode_memory_bytes: int
    roots: tuple[str, ...]
    depth: Depth


class ShardTagger:
    """Callable of `ray.data.Dataset.map_batches`, one piece per call: an `actor.PieceTagger`.

    Parameters
    ----------
    job
        What is to be done, and how.
    board
        Where the actor reports to, a handle of `progress.make_board`.
    """

    def __init__(self, job: ActorJob, board: Any) -> None:
        from catalog_tagger.tagging.actor import PieceTagger

        self._tagger = PieceTagger(job, board)

    def __call__(self, batch: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Tag the piece in a batch of one row; the status row says what came of it."""
        return self._tagger(batch)
