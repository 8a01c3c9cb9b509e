"""Index a warehouse's songs and search its other tracks for them, as a Ray job.

    ray job submit --working-dir . -- python jobs/index_fingerprints.py --config deploy/index_fingerprints.yaml

The file holds the keys of `catalog_tagger.songs.config.SongsConfig`; `warehouse` is the only one needed. Any key can
be overridden: ``--set most_false=0.001``. Segments of the index are built, and searched, as tasks of one CPU each.
Progress goes to standard error, the result to standard output as JSON, with the ``--limit`` first songs. Exit codes are
those of ``catalog-tagger songs``. A job that was stopped goes on from what its tasks have finished.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout

from catalog_tagger.cli.interruption import interrupt_on_sigterm
from catalog_tagger.cli.job_options import add_config_options, overrides_of
from catalog_tagger.cli.songs_display import SearchDisplay, show_songs
from catalog_tagger.errors import EXIT_INTERRUPTED, EXIT_OK, CatalogTaggerError
from catalog_tagger.songs.config import load_songs_config
from catalog_tagger.songs.job import run_songs_job


def main() -> int:
    """Run the job; returns its exit code."""
    interrupt_on_sigterm()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_config_options(parser)
    parser.add_argument("--limit", type=int, default=100, help="most songs in the answer; all are in the table")
    arguments = parser.parse_args()
    overrides = overrides_of(parser, arguments)
    try:
        config = load_songs_config(arguments.config, overrides=overrides)
        with redirect_stdout(sys.stderr), SearchDisplay() as display:
            result = run_songs_job(config, on_progress=display.update)
    except CatalogTaggerError as error:
        print(f"index_fingerprints: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("index_fingerprints: interrupted; the same job goes on from what was finished", file=sys.stderr)
        return EXIT_INTERRUPTED
    show_songs(result, limit=arguments.limit, as_json=True)
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
