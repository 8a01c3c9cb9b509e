"""``catalog-tagger export``: what is heard when, as files of editors' tools."""

from __future__ import annotations

import click

_WRITERS = 16


@click.command(short_help="Write each track's stretches of speech, music, tags and songs as label files.")
@click.argument("warehouse")
@click.option("--format", "kind", required=True, help="audacity, textgrid (Praat), rttm or json.")
@click.option("--out", "folder", required=True, help="Folder, or s3:// prefix, to write a file per track to.")
@click.option("--track", "tracks", multiple=True, metavar="ID", help="Only this track; may be repeated.")
@click.option("--where", default="true", metavar="SQL", help="Only tracks whose row of `tracks` is so.")
def export(warehouse: str, kind: str, folder: str, tracks: tuple[str, ...], where: str) -> None:
    """Write a label file for each tagged track of WAREHOUSE: speech, music, voices, tags and embedded songs.

    A label holds where its probability is at least 0.5 in a segment of 5 s; neighbouring segments are one stretch.
    Of a track that was heard in part (`scanned_s` < `duration_s`) only those parts can have labels. Files are called
    by the tracks' ids, percent-encoded.

    \b
    Examples:
      catalog-tagger export tags --format audacity --out labels
      catalog-tagger export tags --format textgrid --out labels --track shows/episode-12.mp3
      catalog-tagger export tags --format rttm --out labels --where "content_type = 'mixed'"
      catalog-tagger export s3://bucket/tags --format json --out s3://bucket/labels
    """
    from collections import deque
    from concurrent.futures import Future, ThreadPoolExecutor

    from catalog_tagger.errors import UsageError
    from catalog_tagger.report.labels import FORMATS, file_name
    from catalog_tagger.report.timeline import timelines
    from catalog_tagger.storage import Store

    if kind not in FORMATS:
        raise UsageError(f"--format {kind!r}: known are {', '.join(FORMATS)}")
    extension, write = FORMATS[kind]
    target, count = Store(folder), 0
    with ThreadPoolExecutor(_WRITERS) as pool:  # a file is a round trip on object storage
        waiting: deque[Future[None]] = deque()
        for line in timelines(Store(warehouse), where=where, track_ids=tracks):
            text = write(line).encode(errors="replace")
            waiting.append(pool.submit(target.write, file_name(line.track_id, extension), text))
            count += 1
            if len(waiting) > 2 * _WRITERS:
                waiting.popleft().result()
        for one in waiting:
            one.result()
    click.echo(f"{count:,} files in {target.uri}")
