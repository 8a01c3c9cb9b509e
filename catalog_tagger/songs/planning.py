"""Which shows have to be searched for which songs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from catalog_tagger.songs.building import group_shards
from catalog_tagger.songs.generations import Generation
from catalog_tagger.songs.searching import SearchTask
from catalog_tagger.songs.segments import SegmentInfo
from catalog_tagger.songs.work import Work

#: rows of fingerprints, of 5 s each, that one task searches
_ROWS: Final = 20_000


def search_tasks(work: Work, index: Generation, *, covered: frozenset[str]) -> Iterator[SearchTask]:
    """Every show with every segment, but for what was searched before.

    Parameters
    ----------
    covered
        Runs whose shows were searched for the songs of each other.
    """
    with_songs = [segment for segment in index.segments if segment.songs]
    gone = {segment.name: work.catalogue.gone_from(work.store, [segment]) for segment in with_songs}
    new = [segment for segment in with_songs if not covered.issuperset(segment.sources)]
    for tagged in work.catalogue.runs.values():
        before = tagged.run_id in covered
        wanted: list[SegmentInfo | None] = [*(new if before else with_songs)]
        if not wanted and not before:
            wanted = [None]
        rows = {shard: count for shard, count in tagged.shards}
        shards = [(shard, tagged.replaced, count) for shard, count in tagged.shards]
        for group in group_shards(shards, most_rows=_ROWS):
            # each of a group's tasks reads its files, so that it is cut where it is large, or where cores would idle
            inside = sum(rows[shard] for shard, _ in group)
            parts = max(-(-inside // _ROWS), work.runner.workers if inside == sum(rows.values()) else 1)
            for segment in wanted:
                for part in range(parts):
                    yield SearchTask(
                        warehouse=work.store.uri,
                        segment=None if segment is None else segment.name,
                        shards=group,
                        gone=frozenset() if segment is None else gone[segment.name],
                        songs_s=index.songs_s,
                        most_false=work.config.most_false,
                        part=part,
                        parts=parts,
                    )
