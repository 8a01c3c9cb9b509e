"""Tracks of a warehouse once more, quarantined or skimmed ones: a manifest of them, made by the warehouse itself.

On disk: ``runs/<run>/retry.parquet`` with ``track_id``, ``uri`` and ``error_code`` of the rows that were
quarantined, or those of which parts were heard, when the run was named; written once, so that a resumed run has
the same source. The rows keep their ids, so they replace the old ones. The row of a damaged tar names the tar, and
stands for its members as in any manifest: what can be read of it now is planned unless it is up to date, and a tar
that is still damaged is quarantined again. The row of a mended tar stays, as rows of removed tracks do.

The rows were allowed when they were planned; without roots of its own the run may go where they are. Those
that the roots of their run refused (``outside_roots``) are among them only where the run has roots, by which
they are checked like any track: what one run was told not to read, another does not read unasked.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalog_tagger.errors import UsageError
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import run_folder
from catalog_tagger.tables.views import connect
from catalog_tagger.tagging.changes import RETRY_MANIFEST, codes_of
from catalog_tagger.tagging.manifests import tracks_of_rows
from catalog_tagger.tagging.skimming import IN_PART_SQL

_COLUMNS: Final = ("track_id", "run_id", "status", "error_code", "uri", "tagged_at")
_SQL: Final = """
    SELECT track_id, uri, error_code FROM tracks WHERE status = 'quarantined' AND list_contains($codes, error_code)
    ORDER BY track_id"""
_SKIMMED_SQL: Final = f"""
    SELECT track_id, uri, error_code FROM tracks
    WHERE status = 'tagged' AND {IN_PART_SQL}
    ORDER BY track_id"""  # noqa: S608  a number of this package
_SKIMMED_COLUMNS: Final = (*_COLUMNS, "scanned_s", "duration_s")
_REFUSED: Final = "outside_roots"


def retry_source(warehouse: Store, run_id: str) -> str:
    """Where the manifest of such a run lies."""
    return warehouse.uri_of(f"{run_folder(run_id)}/{RETRY_MANIFEST}")


@dataclass(frozen=True, kw_only=True)
class RetryManifest:
    """The tracks of a run that plans some again."""

    run_id: str
    rows: pa.Table
    """``track_id``, ``uri`` and ``error_code``."""

    @classmethod
    def find(cls, warehouse: Store, *, run_id: str, codes: Sequence[str], roots: Sequence[str] = ()) -> RetryManifest:
        """The run's own manifest where it has one, else the rows that are quarantined with those codes now.

        Without roots, tracks that the roots of an earlier run refused are left out.

        Raises
        ------
        UsageError
            There is no warehouse at that place, a code is unknown, the run is one of another kind, or it
            names what roots refused and has none.
        """
        wanted = codes_of(codes)
        if not roots and _REFUSED in codes:
            raise UsageError(f"tracks of code {_REFUSED} need roots by which to check them again; add --root")
        try:
            with warehouse.open(f"{run_folder(run_id)}/{RETRY_MANIFEST}") as file:
                rows = pq.read_table(file)
            if not roots and _REFUSED in rows["error_code"].unique().to_pylist():
                raise UsageError(
                    f"run {run_id} retries tracks of code {_REFUSED}; add the --root that it was begun with"
                )
            return cls(run_id=run_id, rows=rows)
        except FileNotFoundError:
            if warehouse.exists(f"{run_folder(run_id)}/job.json"):
                raise UsageError(f"run {run_id} does not retry quarantined tracks; choose another --run-id") from None
        with connect(warehouse, tables=("tracks",), columns=_COLUMNS) as connection:
            if not roots:
                wanted = [code for code in wanted if code != _REFUSED]
            return cls(run_id=run_id, rows=connection.sql(_SQL, params={"codes": wanted}).to_arrow_table())

    @classmethod
    def skimmed(cls, warehouse: Store, *, run_id: str) -> RetryManifest:
        """The tracks of which a part was heard.

        Raises
        ------
        UsageError
            There is no warehouse at that place.
        """
        with connect(warehouse, tables=("tracks",), columns=_SKIMMED_COLUMNS) as connection:
            return cls(run_id=run_id, rows=connection.sql(_SKIMMED_SQL).to_arrow_table())

    def within_reach(self, warehouse: Store) -> RetryManifest:
        """Without tracks whose audio is not to be found from here now."""
        listed = self.tracks(warehouse, roots=self.roots(warehouse))
        found = listed.filter(pc.is_valid(listed["size_bytes"]))["track_id"]
        return replace(self, rows=self.rows.filter(pc.is_in(self.rows["track_id"], value_set=found)))

    def write(self, warehouse: Store) -> None:
        """Store it where it is not yet."""
        name = f"{run_folder(self.run_id)}/{RETRY_MANIFEST}"
        if not warehouse.exists(name):
            buffer = io.BytesIO()
            pq.write_table(self.rows, buffer, compression="zstd")
            warehouse.write(name, buffer.getbuffer())

    def roots(self, warehouse: Store) -> tuple[str, ...]:
        """Roots that the run needs: in object storage a manifest may not name paths of machines without them."""
        uris = self.rows["uri"]
        if warehouse.is_local or not pc.any(pc.starts_with(uris, "/")).as_py():
            return ()
        return tuple(sorted(pc.unique(pc.replace_substring_regex(uris, r"(?s)^(s3://[^/]*|/).*$", r"\1")).to_pylist()))

    def tracks(self, warehouse: Store, *, roots: Sequence[str]) -> pa.Table:
        """What the manifest lists, as if it had been written."""
        columns = {name: self.rows[name].cast(pa.string()) for name in ("track_id", "uri")}
        source = retry_source(warehouse, self.run_id)
        return tracks_of_rows(columns, Store(warehouse.uri_of(run_folder(self.run_id))), source=source, roots=roots)
