"""``catalog-tagger review``: the report, served to a reviewer who decides on flags."""

from __future__ import annotations

import click


@click.command(short_help="Serve the flags on this machine, to listen and to decide on.")
@click.option("--warehouse", "-w", required=True, help="Folder or s3:// prefix of the tables.")
@click.option("--reviewer", help="Whose decisions these are; default: the user's name.")
@click.option("--root", "roots", multiple=True, help="Where audio may be read, instead of the catalogue's own places.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="Of loopback; 0: a free one.")
@click.option(
    "--flags", "most_flags", type=click.IntRange(min=0), default=5000, show_default=True, help="Most flags on the page."
)
@click.option(
    "--grams", type=click.IntRange(min=0), default=300, show_default=True, help="Flags whose evidence is drawn."
)
@click.option("--browser/--no-browser", default=True, help="Whether to open the page.")
def review(
    warehouse: str, reviewer: str | None, roots: tuple[str, ...], port: int, most_flags: int, grams: int, browser: bool
) -> None:
    """Serve the report of WAREHOUSE on loopback until Ctrl-C, with audio, and keep what is decided on its flags.

    Keys: j and k go from flag to flag, p plays its evidence, a accepts, d dismisses, u takes a decision back. Decisions
    are in the warehouse at once (review/), several reviewers' beside each other; the next "catalog-tagger reconcile"
    takes them in. Whoever has the address may look, listen and decide: it holds a token that is made anew each time.

    \b
    Examples:
      catalog-tagger review -w tags
      catalog-tagger review -w s3://bucket/tags --reviewer ada --no-browser
    """
    import getpass
    import tempfile
    import webbrowser
    from contextlib import suppress
    from pathlib import Path

    from catalog_tagger.errors import UsageError
    from catalog_tagger.report.collect import collect
    from catalog_tagger.report.review import ReviewServer, catalogue_roots, is_within
    from catalog_tagger.report.write import MOST_SHOWS, draw_evidence
    from catalog_tagger.storage import Store
    from catalog_tagger.tables.commit import committed_runs

    store = Store(warehouse)
    report = collect(store, page=None, most_flags=most_flags, most_shows=MOST_SHOWS)
    allowed = roots or catalogue_roots(committed_runs(store))
    if grams > 0:
        draw_evidence(report, most=grams, may_read=lambda uri: is_within(uri, allowed))
    try:
        who = reviewer or getpass.getuser()
    except (KeyError, OSError) as error:
        raise UsageError("--reviewer: this system knows no name for you; give one") from error
    try:
        server = ReviewServer(store, report, roots=allowed, reviewer=who, port=port)
    except OSError as error:
        raise UsageError(f"--port {port}: {error.strerror}; choose another, or 0 for a free one") from error
    with server:
        click.echo(f"{len(report.flags):,} flags at {server.url}\nCtrl-C ends it.")
        # by a file of the user's own: what a program is called with, others on the machine may see
        with tempfile.NamedTemporaryFile("w", suffix=".html", prefix="catalog-tagger-") as page:
            page.write(f'<meta http-equiv="refresh" content="0; url={server.url}">')
            page.flush()
            if browser:
                webbrowser.open(Path(page.name).as_uri())
            with suppress(KeyboardInterrupt):
                server.serve_forever(poll_interval=0.2)
            click.echo(f"\n{server.decided:,} decisions; the next catalog-tagger reconcile takes them in")
