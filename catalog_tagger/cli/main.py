"""The command ``catalog-tagger``.

Commands are modules of this package, imported when they are called, so that ``--help`` starts at
once. Exit codes are in `catalog_tagger.errors`: 0 done, 1 failed, 2 bad usage, 3 done with
quarantined tracks, 130 interrupted.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Final

import click

from catalog_tagger._version import __version__
from catalog_tagger.cli.interruption import interrupt_on_sigterm
from catalog_tagger.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, CatalogTaggerError

#: command -> its one line of help, known without importing it
COMMANDS: Final = {
    "tag": "Tag a folder, bucket, manifest or tar files into a warehouse.",
    "runs": "List a warehouse's runs: state, counts, rates, cost.",
    "retry-quarantined": "Tag a warehouse's quarantined tracks again.",
    "songs": "Find the catalogue's songs inside its other tracks.",
    "reconcile": "List where metadata and audio disagree.",
    "report": "Write a page of totals, costs, flags and songs that people read.",
    "review": "Serve the flags on this machine, to listen and to decide on.",
    "sql": "Ask the warehouse's tables in SQL.",
    "views": "Print the warehouse's views for your SQL engine.",
    "export": "Write label files for editors' tools: Audacity, Praat, RTTM, JSON.",
    "iceberg": "Register the warehouse's files as Iceberg tables.",
    "prune": "Remove old runs all of whose rows have been replaced.",
    "bundles": "List the models that ship, or show one's card.",
    "train": "Train a bundle from a configuration file.",
    "evaluate": "Measure a bundle on labelled clips.",
    "doctor": "Check codecs, models, GPU, Ray, credentials and write access.",
    "completion": "Print what makes your shell complete commands and options.",
    "demo": "Make a small catalogue, tag it and show what was found.",
}


PROGRAM: Final = "catalog-tagger"
COMPLETE_VARIABLE: Final = "_CATALOG_TAGGER_COMPLETE"


class _Lazy(click.Group):
    """A group whose commands are imported when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(importlib.import_module(f"catalog_tagger.cli.{name}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; commands: {', '.join(COMMANDS)}"
            ctx.fail(f"no command {args[0]!r}{hint}")
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and command is not None and not ctx.resilient_parsing:
            from catalog_tagger.cli.defaults import options_of

            ctx.default_map = {name: options_of(command, name)}
        return name, command, rest


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name=PROGRAM)
def cli() -> None:
    """Listen to an audio catalogue and write what is heard, speech, music, voices, tags, as Parquet tables.

    \b
    Examples:
      catalog-tagger tag ~/Music --warehouse tags
      catalog-tagger tag s3://bucket/audio --warehouse s3://bucket/tags
      catalog-tagger sql tags "select content_type, count(*) from tracks group by 1"

    Options may also come from CATALOG_TAGGER_<COMMAND>_<OPTION> of the environment, then from catalog-tagger.yaml here
    or in ~/.config: options by command, such as "tag: {depth: scan}".
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code; errors a user can mend are one message."""
    interrupt_on_sigterm()
    try:
        code = cli.main(args=arguments, prog_name=PROGRAM, standalone_mode=False, complete_var=COMPLETE_VARIABLE)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        code = EXIT_OK
    except click.ClickException as error:
        error.show()
        code = EXIT_USAGE
    except CatalogTaggerError as error:
        click.echo(f"catalog-tagger: {error}", err=True)
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        code = EXIT_INTERRUPTED
    sys.exit(code if isinstance(code, int) else EXIT_OK)
