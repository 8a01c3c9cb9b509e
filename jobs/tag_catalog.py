"""Tag a catalogue as a Ray job.

    ray job submit --working-dir . -- python jobs/tag_catalog.py --config job.yaml

The file holds the keys of `catalog_tagger.tagging.config.TagConfig`; `source` and `warehouse` are
the only ones needed. Any key can be overridden: ``--set run_id=2026-w47``. Progress goes to standard
error, the summary to standard output as JSON; ``--dry-run`` prints an estimate and does nothing. Exit
codes are those of ``catalog-tagger tag``. ``ray job stop`` interrupts it: finished shards are kept, and
the same job goes on with the rest.
"""

from __future__ import annotations

import argparse
import sys

from catalog_tagger.cli.dry_run_display import show_dry_run
from catalog_tagger.cli.interruption import interrupt_on_sigterm
from catalog_tagger.cli.job_options import add_config_options, overrides_of
from catalog_tagger.cli.output import RunDisplay, show_run
from catalog_tagger.errors import EXIT_INTERRUPTED, EXIT_OK, CatalogTaggerError
from catalog_tagger.tagging.config import load_config
from catalog_tagger.tagging.estimate import plan_only
from catalog_tagger.tagging.job import run_tag_job


def main() -> int:
    """Run the job; returns its exit code."""
    interrupt_on_sigterm()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_config_options(parser)
    parser.add_argument(
        "--quarantined-ok",
        action="store_true",
        help="exit 0, not 3, when tracks are quarantined: Ray calls 3 a failure",
    )
    parser.add_argument("--dry-run", action="store_true", help="print what there is to do and its estimate, do nothing")
    arguments = parser.parse_args()
    overrides = overrides_of(parser, arguments)
    again = "the same command"
    try:
        config = load_config(arguments.config, overrides=overrides)
        if "run_id" in config.model_fields_set:
            again = f"--set run_id={config.run_id}"
        if arguments.dry_run:
            show_dry_run(plan_only(config), as_json=True)
            return EXIT_OK
        with RunDisplay() as display:
            result = run_tag_job(config, on_progress=display.update)
    except CatalogTaggerError as error:
        print(f"tag_catalog: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"tag_catalog: interrupted; resume with {again}", file=sys.stderr)
        return EXIT_INTERRUPTED
    show_run(result, as_json=True)
    return EXIT_OK if arguments.quarantined_ok else result.exit_code


if __name__ == "__main__":
    sys.exit(main())
