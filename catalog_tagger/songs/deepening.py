"""Songs of which the tagging pass heard a few segments (`tagging.skimming`), heard whole before they are searched for.

A song is found in a show by the part that the show plays, which may be any; what a skim heard of it is an eighth. That
clear music is skimmed saves most of a catalogue's cost as long as nobody asks for songs, and whoever asks pays for it
once per recording: tracks that were heard whole stay so for later runs with the same bundles.

The songs are planned by a manifest that the warehouse makes of its own rows (`tagging.retry`), as a tagging run whose
name is the search's with `_SUFFIX`.

Failure rule: as of the tagging job; a later search finishes what this one left unfinished, and then what is new.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from catalog_tagger.errors import UsageError
from catalog_tagger.songs.config import SongsConfig
from catalog_tagger.songs.work import Listener, Stage
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import TAG, committed_runs, unfinished_runs
from catalog_tagger.tables.views import connect

if TYPE_CHECKING:
    from catalog_tagger.tagging.progress import Progress

_SUFFIX: Final = "-whole"
_STAGE: Final[Stage] = "hearing songs whole"
_SHOWS_SQL: Final = "SELECT count(*) FROM tracks WHERE status = 'tagged' AND content_type <> 'music'"
_COLUMNS: Final = ("track_id", "run_id", "status", "content_type", "tagged_at")


def deepen(config: SongsConfig, listener: Listener) -> int:
    """Hear whole what songs a search needs; returns how many tracks were planned.

    Parameters
    ----------
    config
        The search's.
    listener
        Told of tracks that are done, and of all.

    Raises
    ------
    CatalogTaggerError
        As `tagging.job.run_tag_job`.
    """
    store = Store(config.warehouse)
    tagging = [run for run in committed_runs(store) if run.kind == TAG] if store.children("runs") else []
    if not tagging:
        return 0  # which the search will say
    # torch and Ray's part of tagging are imported here: most searches have nothing to deepen
    from catalog_tagger.tagging.config import TagConfig
    from catalog_tagger.tagging.job import run_tag_job
    from catalog_tagger.tagging.retry import RetryManifest, retry_source

    planned = 0
    left = [run_id for run_id in unfinished_runs(store) if run_id.endswith(_SUFFIX)]
    for run_id in [*left, config.run_id + _SUFFIX]:
        manifest = RetryManifest.skimmed(store, run_id=run_id)
        if run_id not in left and not (manifest.rows.num_rows and _has_shows(store)):
            break
        manifest.write(store)
        planned += manifest.rows.num_rows
        total = manifest.rows.num_rows
        run_tag_job(
            TagConfig(
                source=retry_source(store, run_id),
                warehouse=config.warehouse,
                run_id=run_id,
                bundles=tuple(tagging[-1].config["bundles"]),
                roots=manifest.roots(store),
                depth="scan",
                ray_address=config.ray_address,
            ),
            on_progress=partial(_tell, listener, total),
        )
    return planned


def _tell(listener: Listener, total: int, progress: Progress) -> None:
    listener(_STAGE, progress.tracks, total)


def _has_shows(store: Store) -> bool:
    """Whether there is anything that songs are looked for in."""
    with connect(store, tables=("tracks",), columns=_COLUMNS) as connection:
        row = connection.execute(_SHOWS_SQL).fetchone()
    if row is None:
        raise UsageError(f"{store.uri}: its tracks cannot be counted")
    return bool(row[0])
