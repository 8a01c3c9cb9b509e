"""A night of a catalogue: tag what changed, search for songs, compare with the metadata, report.

    python jobs/nightly.py --config deploy/nightly.yaml
    ray job submit --working-dir . -- python jobs/nightly.py --config deploy/nightly.yaml

The file holds the keys of `catalog_tagger.nightly.config.NightlyConfig`. Stages are named on standard error as they
begin; the summary is one JSON document on standard output, in ``nightly/<night>.json`` of the warehouse, and posted to
``webhook``. Exit codes: 0 done, 3 done with quarantined tracks (0 with ``--quarantined-ok``), else that of the stage
that failed: 1, or 2 for bad input; 130 interrupted. The same command goes on with the newest night that is not done, or
begins a new one; ``--set night=2026-11-29`` names a night.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout
from dataclasses import asdict

from catalog_tagger.cli.interruption import interrupt_on_sigterm
from catalog_tagger.cli.job_options import add_config_options, overrides_of
from catalog_tagger.cli.output import show_json
from catalog_tagger.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_QUARANTINED, CatalogTaggerError
from catalog_tagger.nightly.config import load_nightly_config
from catalog_tagger.nightly.job import run_night


def main() -> int:
    """Run the night; returns its exit code."""
    interrupt_on_sigterm()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_config_options(parser)
    parser.add_argument("--quarantined-ok", action="store_true", help="exit 0, not 3, when tracks are quarantined")
    arguments = parser.parse_args()
    overrides = overrides_of(parser, arguments)
    try:
        config = load_nightly_config(arguments.config, overrides=overrides)
        with redirect_stdout(sys.stderr):
            night = run_night(config, on_stage=lambda stage: print(f"nightly: {stage}", file=sys.stderr))
    except CatalogTaggerError as error:
        print(f"nightly: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("nightly: interrupted; the same command goes on with the stage that it was in", file=sys.stderr)
        return EXIT_INTERRUPTED
    show_json(asdict(night))
    return EXIT_OK if night.exit_code == EXIT_QUARANTINED and arguments.quarantined_ok else night.exit_code


if __name__ == "__main__":
    sys.exit(main())
