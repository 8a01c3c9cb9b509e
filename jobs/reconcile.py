"""Compare a catalogue's metadata with what was heard, as a Ray job.

    ray job submit --working-dir . -- python jobs/reconcile.py --config reconcile.yaml

The file holds the keys of `catalog_tagger.reconcile.config.ReconcileConfig`; `warehouse` and `metadata`
are the only ones needed, and `mapping` may be the mapping itself. Any key can be overridden:
``--set run_id=2026-w47``. On a cluster (`ray`, `ray_address` or ``RAY_ADDRESS``) the join and the scores are
made there. The result is one JSON document on standard output, with the ``--limit`` surest flags. Exit codes
are those of ``catalog-tagger reconcile``.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import redirect_stdout

from catalog_tagger.cli.interruption import interrupt_on_sigterm
from catalog_tagger.cli.job_options import add_config_options, overrides_of
from catalog_tagger.cli.reconcile_display import show_reconciled
from catalog_tagger.errors import EXIT_INTERRUPTED, EXIT_OK, CatalogTaggerError
from catalog_tagger.reconcile.config import load_config
from catalog_tagger.reconcile.job import run_reconcile


def main() -> int:
    """Run the job; returns its exit code."""
    interrupt_on_sigterm()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_config_options(parser)
    parser.add_argument("--limit", type=int, default=100, help="most flags in the answer; all are in the table")
    arguments = parser.parse_args()
    overrides = overrides_of(parser, arguments)
    try:
        config = load_config(arguments.config, overrides=overrides)
        if "ray" not in config.model_fields_set and (config.ray_address or os.environ.get("RAY_ADDRESS")):
            config = config.model_copy(update={"ray": True})
        with redirect_stdout(sys.stderr):  # Ray tells of its processes there; the document stands alone
            result = run_reconcile(config)
    except CatalogTaggerError as error:
        print(f"reconcile: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("reconcile: interrupted; nothing is committed, run it again", file=sys.stderr)
        return EXIT_INTERRUPTED
    show_reconciled(result, limit=arguments.limit, as_json=True)
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
