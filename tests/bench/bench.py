"""The speed of the product against named peers, in one run.

    python tests/bench/bench.py                                        # all but whole jobs, in five minutes
    python tests/bench/bench.py --sections end_to_end --hours 16       # whole jobs, the long one
    python tests/bench/bench.py --sections storage                     # whole jobs over S3, in a few minutes
    python tests/bench/bench.py --json now.json --compare stored.json  # what has become slower

Sections are modules of their own, `section_*.py`, that say what they measure and how; `measuring.py` says how all of
them take figures, and `results.py` what their ratios and spreads mean. At the end there is one Markdown table: our
figure (seconds of audio per second where no unit is given), the peer with its own, the ratio within each round, and
whether a target holds. A section that cannot run here, and a peer that is not installed, say why.

On a machine with torch and numpy alone: ``PYTHONPATH=. python tests/bench/bench.py --sections cqt,gpu``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from measuring import Settings, environment
from results import Row, changes, comparison, table

SECTIONS: Final = ("cqt", "frontends", "decode", "models", "end_to_end", "depth", "storage", "gpu")
DEFAULT: Final = tuple(name for name in SECTIONS if name not in ("end_to_end", "depth", "storage"))


def run_section(name: str, settings: Settings) -> list[Row]:
    """The rows of a section, or one with the reason why there are none."""
    print(f"section {name}", file=sys.stderr)
    try:
        section = importlib.import_module(f"section_{name}")
    except ImportError as error:
        return [Row(name, "not run", note=f"not installed: {error}")]
    rows: list[Row] = section.run(settings)
    return rows


def header(where: dict[str, Any]) -> str:
    """Where the figures were taken, in two lines."""
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    instructions = ", ".join(where["instructions"]) or "none of those asked for"
    machine = f"{where['cpu']}, {where['cores']} cores ({instructions}), {where['torch_threads']} torch threads"
    return f"{machine}, GPU: {where['gpu'] or 'none'}\n{versions}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sections", default=",".join(DEFAULT), help=f"of {','.join(SECTIONS)}; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=Settings.rounds)
    parser.add_argument("--threads", type=int, default=Settings.threads, help="cores; default: all")
    parser.add_argument("--hours", type=float, default=Settings.hours, help="of the catalogue of whole jobs")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--compare", type=Path, help="an earlier run's --json")
    parser.add_argument("--quick", action="store_true", help="one short round of everything: does it run")
    arguments = parser.parse_args()
    chosen = arguments.sections.split(",")
    unknown = [name for name in chosen if name not in SECTIONS]
    if unknown:
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    stored = json.loads(arguments.compare.read_text()) if arguments.compare else None
    settings = Settings(rounds=arguments.rounds, threads=arguments.threads, hours=arguments.hours)
    if arguments.quick:
        settings = settings.quick()
    warnings.filterwarnings("ignore")
    where = environment(settings)
    rows = [row for name in chosen for row in run_section(name, settings)]
    print(f"{header(where)}\n\n{table(rows)}")
    if stored is not None:
        print(f"\nAgainst {arguments.compare}:\n\n{comparison(changes(rows, stored))}")
    if arguments.json:
        figures = {"environment": where, "settings": asdict(settings), "rows": [row.to_json() for row in rows]}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
