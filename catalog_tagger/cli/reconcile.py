"""``catalog-tagger reconcile``: where metadata and audio disagree."""

from __future__ import annotations

import click


@click.command(short_help="List where metadata and audio disagree.")
@click.option("--warehouse", "-w", required=True, help="Folder or s3:// prefix of the tables.")
@click.option("--metadata", "-m", required=True, help="What the catalogue says of its tracks: .csv or .parquet.")
@click.option("--mapping", help="YAML: which column says what [default: common names].")
@click.option("--decisions", help="Editors' decisions: .csv or .parquet with flag_id and accepted or dismissed.")
@click.option("--precision", type=float, help="Share of the flags that is expected to be right [default: 0.95].")
@click.option("--run-id", help="Name of the run [default: its start time].")
@click.option("--limit", type=click.IntRange(min=0), help="Most flags shown [default: 20; with --json all].")
@click.option("--ray-address", help="Join on this Ray cluster [default: here].")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def reconcile(
    warehouse: str,
    metadata: str,
    mapping: str | None,
    decisions: str | None,
    precision: float | None,
    run_id: str | None,
    limit: int | None,
    ray_address: str | None,
    as_json: bool,
) -> None:
    """Compare what METADATA say of the tracks of a warehouse with what was heard, and write flags.

    A flag is one claim with its evidence: a label that is wrong or missing, a song with speech over it, a
    song inside a show, the same recording under two ids, a track that does not play. Labels that are
    expected wrong are estimated by confident learning; the list of each kind ends where its expected
    precision falls below --precision. Songs and duplicates are those that `catalog-tagger songs` has found.

    The flags of earlier runs keep their ids: what is new, still open, resolved. Decisions are read once:
    what was dismissed stays quiet until its audio or its label changes, and all confidences learn from it.

    \b
    Examples:
      catalog-tagger reconcile -w tags -m catalogue.csv
      catalog-tagger reconcile -w tags -m catalogue.csv --mapping map.yaml --decisions decided.csv
      catalog-tagger sql tags "select * from flags where state = 'new' order by confidence desc"
      catalog-tagger sql tags "select * from flag_precision where is_cut"

    \b
    A mapping:
      track_id: isrc
      fields:
        content_type:
          column: kind
          values: {music: [song, album], speech: [audiobook], speech or mixed: [podcast]}

    Exit codes: 0 done, 1 failed, 2 bad usage, 130 interrupted.
    """
    import sys
    from contextlib import redirect_stdout

    from catalog_tagger.cli.reconcile_display import show_reconciled
    from catalog_tagger.reconcile.config import make_config
    from catalog_tagger.reconcile.job import run_reconcile

    config = make_config(
        warehouse=warehouse,
        metadata=metadata,
        mapping=mapping,
        decisions=decisions,
        precision=precision,
        run_id=run_id,
        ray=True if ray_address else None,
        ray_address=ray_address,
    )
    with redirect_stdout(sys.stderr):  # Ray tells of its processes there; the result stands alone
        result = run_reconcile(config)
    show_reconciled(result, limit=limit, as_json=as_json)
