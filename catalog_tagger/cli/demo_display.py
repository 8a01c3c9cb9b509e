"""What ``catalog-tagger demo`` shows: labels beside what was heard, and the SQL that asks for it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

_PIPE_WIDTH = 120
_WRONG = "mislabelled"


def note(line: str) -> None:
    """A line for people, beside the results."""
    click.echo(line, err=True)


def comparison_sql(manifest: Path) -> str:
    """SQL over a warehouse and the catalogue's own manifest; no double quotes, so that a shell can hold it in some."""
    name = str(manifest).replace("'", "''")
    return f"""
    select track_id, m.title, m.content_type as label, t.content_type as heard,
           round(t.content_confidence, 2) as confidence, nullif(t.voice_gender, 'unknown') as voice,
           array_to_string([a.tag for a in t.tags if a.score >= 0.5 and a.tag not in ('speech', 'music')][1:2], ', ')
           as tags, coalesce(t.error_code, f.kind, t.status) as status
    from read_csv('{name}', all_varchar = true) m left join tracks t using (track_id)
    left join (select * from flags where kind = '{_WRONG}' and state <> 'resolved') f using (track_id)
    order by track_id"""  # noqa: S608  the user's own file, its quotes doubled


def show_comparison(rows: Sequence[Mapping[str, Any]], *, wrong_labels: Sequence[str]) -> None:
    """A row per track, those that are flagged as mislabelled marked, and how many were wrong indeed.

    Voices and tags have a column where any were heard.
    """
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    more = [name for name in ("voice", "tags") if any(row[name] for row in rows)]
    for heading in ("track", "title", "label", "heard"):
        table.add_column(heading, no_wrap=True)
    table.add_column("sure", justify="right")
    for heading in (*more, "status"):
        table.add_column(heading, no_wrap=True)
    found = {str(row["track_id"]) for row in rows if row["status"] == _WRONG}
    for row in rows:
        confidence = row["confidence"]
        table.add_row(
            *(Text(row[key] or "") for key in ("track_id", "title", "label", "heard")),
            "" if confidence is None else f"{confidence:.2f}",
            *(Text(row[key] or "") for key in more),
            Text(row["status"] or "not tagged"),
            style="red" if row["heard"] is None else "bold yellow" if row["track_id"] in found else None,
        )
    console = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)
    console.print(table)
    right = found & set(wrong_labels)
    console.print(
        f"\n[bold]{len(right)} of {len(wrong_labels)} wrong labels found[/bold] by listening; "
        f"right ones doubted: {len(found - right)}\n"
    )
