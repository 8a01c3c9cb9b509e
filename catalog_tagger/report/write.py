"""A report from a warehouse to a file, with pictures of the evidence where the audio is within reach.

Failure rule: the page is written whole, last; a picture that cannot be made is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from catalog_tagger.errors import UsageError
from catalog_tagger.report.collect import Report, collect
from catalog_tagger.report.page import render
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import committed_runs
from catalog_tagger.tagging.track_list import parent_of

#: tracks with songs inside that a page lists
MOST_SHOWS: Final = 2000


def write_report(store: Store, *, out: str | None = None, most_flags: int = 5000, grams: int = 300) -> str:
    """Write the page; returns where.

    Raises
    ------
    UsageError
        There is no warehouse, or no committed run in it.
    StorageError
        The page cannot be written.
    """
    runs = committed_runs(store)
    if not runs:
        raise UsageError(
            f"{store.uri}: no committed run to report on; make one with: catalog-tagger tag SOURCE --warehouse W"
        )
    target, name = parent_of(out or store.uri_of(f"reports/{runs[-1].run_id}.html"))
    page = Path(target.path(name)) if target.is_local else None
    report = collect(store, page=page, most_flags=most_flags, most_shows=MOST_SHOWS)
    if grams > 0:
        draw_evidence(report, most=grams)
    target.write(name, render(report).encode(errors="replace"))
    return target.uri_of(name)


def draw_evidence(report: Report, *, most: int, may_read: Callable[[str], bool] = lambda _: True) -> None:
    """Give the first flags that have evidence a picture of it: ``g`` is ``[data URI, start, end]``.

    Parameters
    ----------
    may_read
        Whether a track's audio may be read, by its uri.
    """
    from catalog_tagger.report.grams import GramPainter  # torch, which a page without pictures does without

    drawable = (flag for flag in report.flags if flag["e"] and isinstance(flag["t"], int))
    with GramPainter() as painter:
        for _, flag in zip(range(most), drawable, strict=False):
            uri, etag = report.tracks[flag["t"]]["u"], report.etags[flag["t"]]
            start_s, end_s, _ = flag["e"][0]
            picture = painter.picture(uri, etag, start_s, end_s) if may_read(uri) else None
            if picture is not None:
                flag["g"] = picture
