"""Listens to a whole audio catalogue and says what is music, what is speech, and where.

`Tagger` tags one track in this process; `catalog_tagger.tagging.job.run_tag_job` tags a catalogue on
Ray. Names are imported on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from catalog_tagger._version import __version__

if TYPE_CHECKING:
    from catalog_tagger.tagging.tagger import Tagger, TrackResult

__all__ = ["Tagger", "TrackResult", "__version__"]


def __getattr__(name: str) -> Any:
    if name in ("Tagger", "TrackResult"):
        from catalog_tagger.tagging import tagger

        return getattr(tagger, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
