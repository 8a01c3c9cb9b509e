"""What is not of a track must not end as its code."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from catalog_tagger.errors import RunError
from catalog_tagger.tagging import decoder_pool
from catalog_tagger.tagging.decoder_pool import DecoderPool
from catalog_tagger.tagging.encoded import Encoded
from catalog_tagger.tagging.fetching import StoreHealth

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.usefixtures("local_ray")]


def test_a_node_that_cannot_decode_at_all_ends_the_job_and_quarantines_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_the_package(*_: object, **__: object) -> Iterator[None]:
        raise ModuleNotFoundError("No module named 'catalog_tagger'")
        yield

    remote = ray.remote(num_returns="streaming", max_retries=0)(without_the_package)
    monkeypatch.setattr(decoder_pool, "decode_task", remote)
    pool = DecoderPool(most=2, max_duration_s=60.0, memory_bytes=2**28, timeout_s=30.0, health=StoreHealth())
    fetched = iter([({"track_id": "a", "uri": "/a.wav"}, Encoded(path=str(tmp_path / "a.wav")))])
    with pytest.raises(RunError, match=r"a node cannot decode \(.*No module named .*install the same version"):
        list(pool.run(fetched))
