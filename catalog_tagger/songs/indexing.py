"""The index brought up to date: segments of new runs, small ones merged, dead ones dropped, a new generation."""

from __future__ import annotations

from typing import Final

from catalog_tagger.songs.building import BuildTask, MergeTask, build, group_shards, merge, to_merge
from catalog_tagger.songs.generations import Generation, commit_generation, newest_generation
from catalog_tagger.songs.work import Work

#: rows of fingerprints, of 5 s each, that one task indexes
_ROWS: Final = 400_000


def update_index(work: Work) -> Generation:
    """The index with every current run in it; a generation of its own where anything changed."""
    store, catalogue = work.store, work.catalogue
    before = newest_generation(store)
    kept = [segment for segment in before.segments if not catalogue.runs.keys().isdisjoint(segment.sources)]
    new = [tagged for run_id, tagged in catalogue.runs.items() if run_id not in before.covered]
    shards = [(shard, tagged.replaced, rows) for tagged in new for shard, rows in tagged.shards]
    tasks = [BuildTask(store.uri, group) for group in group_shards(shards, most_rows=_ROWS)]
    segments = [*kept, *(one for made in work.results("indexing", build, tasks) for one in made)]
    for group in to_merge(segments):
        merged = merge(MergeTask(store.uri, group, catalogue.gone_from(store, group)))
        segments = [*(one for one in segments if one not in group), merged]
    segments.sort(key=lambda segment: segment.name)
    if tuple(segments) == before.segments and before.covered.issuperset(catalogue.runs):
        return before
    after = Generation(before.number + 1, tuple(segments), before.covered | frozenset(catalogue.runs))
    commit_generation(store, after)
    return after
