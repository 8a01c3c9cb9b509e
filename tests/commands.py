"""The command in a process of its own, as users run it."""

import os
import subprocess
import sys

from servers import ACCESS_KEY, SECRET_KEY

PROGRAM = [sys.executable, "-c", "from catalog_tagger.cli.main import main; main()"]


def environment(**values: str) -> dict[str, str]:
    """This process's, but for a cluster that somebody set."""
    return {**{key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}, **values}


def command(*arguments: str, program: list[str] = PROGRAM, **values: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end; `values` go into its environment. It may show neither a traceback nor a key."""
    done = subprocess.run(
        [*program, *arguments],
        env=environment(**values),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    for text in (done.stdout, done.stderr):
        assert "Traceback" not in text, text
        assert SECRET_KEY not in text
        assert ACCESS_KEY not in text
    return done
