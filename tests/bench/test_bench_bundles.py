"""The bench of bundles counts each front end once, and what tables hold without their footers."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bench_bundles import data_bytes, measure_steps, show_steps, steps_of
from conftest import put_untrained

from catalog_tagger.tagging.bundle_set import load_bundles


def test_a_front_end_that_bundles_share_is_one_step(
    bundles: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = put_untrained(tmp_path / "o", labels=["calm"], task="tags", frontend={"name": "cqt", "compression": 10.0})
    steps = steps_of(load_bundles([*bundles, other]))
    names = [step.name.partition("@")[0] for step in steps]
    assert names[2:] == ["untrained", "voices", "o", "tagger"]
    assert all(name.startswith("front end ") for name in names[:2])
    measure_steps(steps, 2, repeats=1)
    assert all(len(step.cpu_ms) == 2 and min(step.cpu_ms) > 0 for step in steps)
    show_steps(steps)
    assert capsys.readouterr().out.count("\n") == 2 + len(steps)


def test_footers_are_no_data(tmp_path: Path) -> None:
    folder = tmp_path / "segments" / "run_id=r"
    folder.mkdir(parents=True)
    values = pa.array(range(100_000), pa.int32())
    comment = pa.field("v", pa.int32(), metadata={"comment": "x" * 50_000})
    pq.write_table(pa.table([values], schema=pa.schema([comment])), folder / "a.parquet", use_dictionary=False)
    found = data_bytes(tmp_path, "segments")
    assert 0 < found < (folder / "a.parquet").stat().st_size - 50_000
    assert data_bytes(tmp_path, "tracks") == 0
