"""The search for songs: hear whole what was skimmed (`deepening`), bring the index up to date, search shows, compare
likely copies, write the tables, commit.

What was searched before is not searched again: shows of runs that the last search covered are searched for songs
of runs since, shows of runs since for all songs. The three tables are written whole each time, from what is found
and what is carried over.

Failure rule: what its tasks have built and found stays (`building`, `keeping`) for the next search; the tables
appear with the run's manifest, or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from catalog_tagger.errors import RunError
from catalog_tagger.fingerprints.version import PEAKS_VERSION
from catalog_tagger.songs.carrying import carried_shows
from catalog_tagger.songs.catalogue import read_catalogue
from catalog_tagger.songs.comparing import find_duplicates
from catalog_tagger.songs.config import SongsConfig
from catalog_tagger.songs.deepening import Deepened, deepen
from catalog_tagger.songs.generations import Generation
from catalog_tagger.songs.indexing import update_index
from catalog_tagger.songs.keeping import sweep_kept
from catalog_tagger.songs.planning import search_tasks
from catalog_tagger.songs.searching import search
from catalog_tagger.songs.settling import Shows
from catalog_tagger.songs.tasks import runner
from catalog_tagger.songs.work import Listener, Work
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import RunManifest, read_manifest
from catalog_tagger.tables.lease import hold, read_leases
from catalog_tagger.tables.schemas import TABLES_OF
from catalog_tagger.tables.whole import Beginning, commit_tables

SONGS: Final = "songs"
_PACKAGES: Final = ("ray", "pyarrow", "numpy", "s3fs")


@dataclass(frozen=True, kw_only=True)
class SongsResult:
    """What a search came to."""

    run_id: str
    warehouse: str
    manifest: RunManifest
    indexed: int
    """Songs of the index."""
    shows_with_songs: int
    songs: pa.Table
    duplicates: pa.Table
    searches: pa.Table
    """The tables as they were written."""
    without_fingerprints: int
    """Tracks that were tagged before there were fingerprints."""
    deepened: Deepened
    """Tracks that were heard whole for this search, as the tagging pass had heard parts of them."""
    heard_in_part: int
    """Tracks of which parts are heard still, and which are left out."""


def run_songs_job(config: SongsConfig, *, on_progress: Listener | None = None) -> SongsResult:
    """Search a warehouse's shows for its songs.

    Parameters
    ----------
    on_progress
        Called with a stage, its tasks that have ended and all its tasks.

    Raises
    ------
    CatalogTaggerError
        No committed tagging run, a store that refuses, damaged files, a cluster that cannot be used, another driver.
    """
    store = Store(config.warehouse)
    if read_manifest(store, config.run_id) is not None:
        raise RunError(f"run {config.run_id} is finished; choose another --run-id")
    listener = on_progress or (lambda stage, done, total: None)
    begun = Beginning()
    deepened = deepen(config, listener) if config.deepen else Deepened()
    catalogue = read_catalogue(store, kind=SONGS)
    with (
        hold(store, config.run_id) as lease,
        runner(ray_address=config.ray_address, processes=config.processes) as run,
    ):
        work = Work(store, config, catalogue, run, listener)
        index = update_index(work)
        lease.require()
        tables = _searched(work, index)
        lease.beat()
        lease.require()
        manifest = _commit(work, index, tables, begun)
        sweep_kept(store)
    return SongsResult(
        run_id=config.run_id,
        warehouse=store.uri,
        manifest=manifest,
        indexed=sum(segment.songs for segment in index.segments),
        shows_with_songs=len(set(tables["songs"]["track_id"].to_pylist())),
        songs=tables["songs"],
        duplicates=tables["duplicates"],
        searches=tables["searches"],
        without_fingerprints=catalogue.without_fingerprints,
        deepened=deepened,
        heard_in_part=catalogue.heard_in_part,
    )


def _searched(work: Work, index: Generation) -> dict[str, pa.Table]:
    """Rows of the three tables."""
    run_id = work.config.run_id
    covered = frozenset() if work.config.again else _covered(work)
    shows = Shows(songs_s=index.songs_s, most_false=work.config.most_false)
    if covered:
        shows.add(carried_shows(work.store, covered=covered))
    for searched in work.results("searching", search, list(search_tasks(work, index, covered=covered))):
        shows.add(searched)
    rows = {
        SONGS: shows.songs(run_id),
        "searches": shows.searches(run_id),
        "duplicates": find_duplicates(work, index, covered=covered),
    }
    return {name: pa.Table.from_pylist(rows[name], schema=schema) for name, schema in TABLES_OF[SONGS].items()}


def _covered(work: Work) -> frozenset[str]:
    """Runs that the last search covered; none where it cannot be built upon."""
    previous = work.catalogue.previous
    if previous is None:
        return frozenset()
    told = previous.config
    if told["peaks"] != PEAKS_VERSION or told["most_false"] < work.config.most_false:
        return frozenset()
    return frozenset(told["covered"])


def _commit(work: Work, index: Generation, tables: dict[str, pa.Table], begun: Beginning) -> RunManifest:
    covered = {"covered": sorted(work.catalogue.runs), "peaks": PEAKS_VERSION, "generation": index.number}
    return commit_tables(
        work.store,
        tables,
        run_id=work.config.run_id,
        kind=SONGS,
        source=work.store.uri,
        begun=begun,
        packages=_PACKAGES,
        config={**work.config.model_dump(mode="json"), **covered},
        tracks=tables["searches"].num_rows,
        sessions=[lease.session for lease in read_leases(work.store, work.config.run_id)],
    )
