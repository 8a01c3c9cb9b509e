"""The section for one GPU, on a CPU: its counts of operations and bytes, its rows, and what fails has a reason."""

from collections.abc import Callable

import pytest
import section_gpu
import torch
from measuring import Settings
from torch import Tensor

from catalog_tagger.frontends.cqt import CQT

SIZES = section_gpu.Sizes(batch=2, copied_bytes=2**20, product=64)


def test_operations_are_those_of_the_products() -> None:
    cqt = CQT()
    waveform = torch.zeros(3, 80000)
    found = section_gpu.work_of(cqt, waveform)
    frames = 3 * cqt.n_frames(80000)
    kernels = 2 * frames * 48 * sum(getattr(cqt, f"kernels_{octave}").shape[1] for octave in range(6))
    # rows of zeros between the items are multiplied as well, and so are the filters that halve the rate
    assert kernels < found.operations < 3 * kernels
    written = 4 * frames * 144
    assert written + 4 * waveform.numel() < found.moved_bytes < 100 * written


def test_views_move_nothing_and_a_product_reads_and_writes() -> None:
    class Product(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.mm(x.view(4, 8), x.view(8, 4))

    found = section_gpu.work_of(Product(), torch.zeros(32))
    assert found == section_gpu.Work(operations=2 * 4 * 8 * 4, moved_bytes=4 * (32 + 32 + 16))


def test_every_way_has_rows_on_any_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda module: module)
    rows = {row.what: row for row in section_gpu.measure(torch.device("cpu"), Settings().quick(), SIZES)}
    assert all(row.figures and min(row.figures) > 0 for row in rows.values())
    for what in (
        "copying",
        "product of 64 by 64, bfloat16",
        "CQT float32 compiled",
        "CQT bfloat16, share of bandwidth",
    ):
        assert what in rows
    whole = "transform and all networks, bfloat16 compiled"
    assert rows[f"{whole}, decoders that keep it busy"].unit == "cores"
    assert rows["speech_music bfloat16 compiled"].peer == "speech_music eager float32"
    assert len(rows["speech_music bfloat16 compiled"].ratios) == 1


def test_what_cannot_be_compiled_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(_: object) -> Callable[..., Tensor]:
        def fail(*_: object) -> Tensor:
            raise RuntimeError("no C compiler")

        return fail

    monkeypatch.setattr(torch, "compile", no_compiler)
    rows = {row.what: row for row in section_gpu.measure(torch.device("cpu"), Settings().quick(), SIZES)}
    assert rows["CQT float32"].figures
    for what in ("CQT float32 compiled", "tagger bfloat16 compiled", "transform and all networks, bfloat16 compiled"):
        assert not rows[what].figures
        assert "no C compiler" in rows[what].note


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one here")
def test_without_a_device_there_is_one_row_that_says_so() -> None:
    (row,) = section_gpu.run(Settings())
    assert row.note == "no CUDA device here"
