"""``catalog-tagger completion``: commands and options completed by the shell."""

from __future__ import annotations

import click


@click.command(short_help="Print what makes your shell complete commands and options.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script for SHELL that completes commands and options of catalog-tagger.

    \b
    Examples:
      catalog-tagger completion bash >> ~/.bashrc
      catalog-tagger completion zsh > "${fpath[1]}/_catalog-tagger"
      catalog-tagger completion fish > ~/.config/fish/completions/catalog-tagger.fish
    """
    from click.shell_completion import get_completion_class

    from catalog_tagger.cli.main import COMPLETE_VARIABLE, PROGRAM, cli

    made = get_completion_class(shell)
    assert made is not None, "click knows these shells"
    click.echo(made(cli, {}, PROGRAM, COMPLETE_VARIABLE).source())
