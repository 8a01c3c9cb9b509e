"""Tracks of which the tagging pass heard a few segments (`tagging.skimming`), heard whole before they are searched.

A song is found in a show by the part that the show plays, which may be any; what a skim heard of it is an eighth. That
clear music is skimmed saves most of a catalogue's cost as long as nobody asks for songs, and whoever asks pays for it
once per recording: tracks that were heard whole stay so for later runs with the same bundles.

The tracks are planned by a manifest that the warehouse makes of its own rows (`tagging.retry`), as a tagging run whose
name is the search's with `_SUFFIX`. Where there is no show, nothing is heard.

Failure rule: as of the tagging job; a later search finishes what this one left unfinished, and then what is new. A
track whose audio is not to be found from here keeps its row and is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from catalog_tagger.songs.config import SongsConfig
from catalog_tagger.songs.recordings import SHOWS_SQL
from catalog_tagger.songs.work import Listener, Stage
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import TAG, committed_runs, run_folder, unfinished_runs
from catalog_tagger.tables.views import connect

if TYPE_CHECKING:
    from catalog_tagger.tagging.progress import Progress

_SUFFIX: Final = "-whole"
_STAGE: Final[Stage] = "hearing songs whole"
_COLUMNS: Final = (
    *("track_id", "run_id", "status", "tagged_at", "content_type", "duration_s"),
    *("speech_fraction", "music_fraction"),
)
#: of the run that tagged the tracks, what this one does likewise
_LIKE_IT: Final = ("bundles", "device", "precision", "max_duration_s", "decode_timeout_s", "decode_memory_bytes")


@dataclass(frozen=True, kw_only=True)
class Deepened:
    """What came of hearing tracks whole."""

    tagged: int = 0
    quarantined: int = 0
    out_of_reach: int = 0
    """Tracks whose audio is not to be found from here."""


def deepen(config: SongsConfig, listener: Listener) -> Deepened:
    """Hear whole what a search needs.

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
        return Deepened()  # which the search will say
    # tagging is imported here: most searches have nothing to deepen
    from catalog_tagger.tagging.config import TagConfig
    from catalog_tagger.tagging.job import run_tag_job
    from catalog_tagger.tagging.retry import RetryManifest, retry_source

    like_it: dict[str, Any] = {name: tagging[-1].config[name] for name in _LIKE_IT if name in tagging[-1].config}
    tagged = quarantined = out_of_reach = 0
    for run_id in [*_left_behind(store, like_it), config.run_id + _SUFFIX]:
        wanted = RetryManifest.skimmed(store, run_id=run_id)
        if not (wanted.rows.num_rows and _has_shows(store)):
            break
        manifest = wanted.within_reach(store)
        out_of_reach = wanted.rows.num_rows - manifest.rows.num_rows
        if not manifest.rows.num_rows:
            break
        manifest.write(store)
        result = run_tag_job(
            TagConfig(
                source=retry_source(store, run_id),
                warehouse=config.warehouse,
                run_id=run_id,
                roots=manifest.roots(store),
                depth="scan",
                ray_address=config.ray_address,
                **like_it,
            ),
            on_progress=partial(_tell, listener, manifest.rows.num_rows),
        )
        if result.manifest is not None:
            tagged += result.manifest.tagged
            quarantined += result.manifest.quarantined
    return Deepened(tagged=tagged, quarantined=quarantined, out_of_reach=out_of_reach)


def _left_behind(store: Store, like_it: Mapping[str, Any]) -> list[str]:
    """Runs of an earlier search that were not finished and that this one can finish."""
    from catalog_tagger.tagging.bundle_names import name_bundles
    from catalog_tagger.tagging.retry import retry_source

    found = []
    for run_id in unfinished_runs(store):
        if not run_id.endswith(_SUFFIX):
            continue
        try:
            job = json.loads(store.read(f"{run_folder(run_id)}/job.json"))
            same = (job["source"], job["bundles"]) == (retry_source(store, run_id), name_bundles(like_it["bundles"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            continue  # of no use to anybody: it stays among the unfinished
        found += [run_id] if same else []
    return found


def _tell(listener: Listener, total: int, progress: Progress) -> None:
    listener(_STAGE, progress.tracks, total)


def _has_shows(store: Store) -> bool:
    """Whether there is anything that songs are looked for in."""
    with connect(store, tables=("tracks",), columns=_COLUMNS) as connection:
        return bool(connection.execute(SHOWS_SQL).fetchall()[0][0])
