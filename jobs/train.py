"""Train a bundle as a Ray job, on one GPU or many.

    ray job submit --working-dir . -- python jobs/train.py --config deploy/train.yaml --out /shared/trained

The file is that of ``catalog-tagger train``, and so is what lies in the output folder afterwards.
One process trains per GPU of the cluster, or as many as ``--processes`` says, on CPUs where there
are no GPUs; each takes `batch_size` examples per step. The manifest, its audio and the output folder
must be in a place that all machines see. Progress goes to standard error, the figures to standard
output as JSON. Exit codes: 0 trained, 1 failed, 2 bad usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console

from catalog_tagger.cli.interruption import interrupt_on_sigterm
from catalog_tagger.cli.output import show_json
from catalog_tagger.cli.training_display import TrainingDisplay
from catalog_tagger.errors import EXIT_INTERRUPTED, EXIT_OK, CatalogTaggerError
from catalog_tagger.training.config import read_config
from catalog_tagger.training.distributed import train_distributed


def main() -> int:
    """Run the job; returns its exit code."""
    interrupt_on_sigterm()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", required=True, type=Path, help="YAML file of the training")
    parser.add_argument("--manifest", type=Path, help="the labelled clips, instead of the file's")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the file")
    parser.add_argument("--out", type=Path, default=Path("trained"), help="folder of the result")
    parser.add_argument("--cache", type=Path, default=Path(".training-cache"), help="where decoded clips are kept")
    parser.add_argument("--processes", type=int, default=0, help="how many train together; by default one per GPU")
    parser.add_argument("--ray-address", help="the cluster; by default that of RAY_ADDRESS, or this machine")
    arguments = parser.parse_args()
    if arguments.processes < 0:
        parser.error(f"--processes {arguments.processes}: expected 1 or more, or 0 for one per GPU")
    try:
        overrides = {"manifest": arguments.manifest} if arguments.manifest else {}
        config = read_config(arguments.config, arguments.set, **overrides)
        with TrainingDisplay(Console(stderr=True)) as display:
            train_distributed(
                config,
                out=arguments.out,
                cache_dir=arguments.cache,
                listener=display,
                processes=arguments.processes,
                address=arguments.ray_address,
            )
    except CatalogTaggerError as error:
        print(f"train: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"train: interrupted; the weights of the best validation are in {arguments.out}", file=sys.stderr)
        return EXIT_INTERRUPTED
    content = json.loads((arguments.out / "bundle" / "bundle.json").read_text(encoding="utf-8"))
    show_json(content["card"]["figures"])
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
