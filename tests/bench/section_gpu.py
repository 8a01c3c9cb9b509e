"""Transform and networks on one CUDA device: how fast, against what, how near to the device's limits.

Torch and numpy are all that our rows need, and no Ray. Everything is timed with `torch.cuda.synchronize` before and
after, on tensors that lie on the device already, in batches of 256 segments; contenders take turns.

- **Limits**, measured here: bytes a second of copying a large tensor (read and written), floating point operations a
  second of a large product in float32 and in bfloat16.
- **Shares.** Operations are those that torch counts in the products and convolutions of one call; bytes are what all
  operations of one call, as they are launched without a compiler, read and write. The share is what a second holds of
  either, over the limit in the arithmetic of the transform. A compiled call moves fewer bytes, so its share of the
  bandwidth says how fast the same work would be done without it.
- **Networks** have their architectures' initial weights: no speed depends on them. "float32" is as torch takes it by
  default, convolutions of CUDA in TF32; "bfloat16" is autocast.
- **Feeding.** Samples of a batch, int16 in pinned memory, are copied to the device, become a CQT-gram once and go
  through all networks. Decoders are the cores that keep one device busy, at `DECODED` times real time a core.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from material import SEGMENT_S, segments
from measuring import Contender, Settings, take_turns
from results import Row
from section_cqt import NNAUDIO_HOPS, against, nnaudio_cqt
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import catalog_tagger
from catalog_tagger.frontends.cqt import CQT
from catalog_tagger.models import build_model

#: what a core decodes of MP3, in times real time; section `decode` measures it
DECODED: Final = 1000.0
_BUNDLES: Final = Path(catalog_tagger.__file__).parent / "bundles"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is done at a time."""

    batch: int = 256
    copied_bytes: int = 2**31
    product: int = 8192
    """Rows and columns of the large product."""


@dataclass(frozen=True)
class Work:
    """What one call does."""

    operations: float
    moved_bytes: float


class _Traffic(TorchDispatchMode):
    """Adds up what operations read and write; views of a tensor move nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.moved_bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            given = [*args, *(kwargs or {}).values(), *(out if isinstance(out, (tuple, list)) else (out,))]
            nested = [one for value in given for one in (value if isinstance(value, (tuple, list)) else (value,))]
            self.moved_bytes += sum(one.numel() * one.element_size() for one in nested if isinstance(one, Tensor))
        return out


def run(settings: Settings) -> list[Row]:
    """All rows, or one that says that there is no such device."""
    if not torch.cuda.is_available():
        return [Row("gpu", "not run", note="no CUDA device here")]
    return measure(torch.device("cuda"), settings, Sizes())


def measure(device: torch.device, settings: Settings, sizes: Sizes) -> list[Row]:
    """The rows of one device, whichever it is."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    copying, products = _limits(device, sizes)
    waveform = torch.from_numpy(segments(32)).to(device).repeat(-(-sizes.batch // 32), 1)[: sizes.batch]
    cqts = _transforms(waveform)
    peers = [nnaudio_cqt(kind, waveform) for kind in NNAUDIO_HOPS]
    with torch.inference_mode():
        features = CQT().to(device)(waveform)
    networks = {name: _ways(name, network, features) for name, network in _networks(device).items()}
    feeding = _feeding(waveform, device)
    ways = [one for found in networks.values() for one in found]
    take_turns([copying, *products.values(), *cqts.values(), *peers, *ways, *feeding], settings, wait=wait)
    return [
        Row("gpu", copying.name, [speed / 1e9 for speed in copying.speeds], unit="GB/s"),
        *(Row("gpu", one.name, [speed / 1e12 for speed in one.speeds], unit="TFLOP/s") for one in products.values()),
        *(against("gpu", one, "nnAudio's fastest", peers) for one in cqts.values()),
        *_shares(cqts, waveform, copying, products),
        *(against("gpu", one, found[0].name, found[:1]) for found in networks.values() for one in found[1:]),
        *(row for one in feeding for row in _fed(one)),
    ]


def _limits(device: torch.device, sizes: Sizes) -> tuple[Contender, dict[torch.dtype, Contender]]:
    """Contenders whose "speed" is bytes a second, and operations a second."""
    source = torch.zeros(sizes.copied_bytes // 4, device=device)
    target = torch.empty_like(source)
    copying = Contender("copying", 2.0 * source.numel() * 4, lambda: target.copy_(source))
    side = sizes.product
    products = {}
    for dtype in (torch.float32, torch.bfloat16):
        one = torch.full((side, side), 0.5, dtype=dtype, device=device)
        name = f"product of {side} by {side}, {_name(dtype)}"
        products[dtype] = Contender(name, 2.0 * side**3, lambda one=one: torch.mm(one, one))
    return copying, products


def _transforms(waveform: Tensor) -> dict[torch.dtype | str, Contender]:
    audio_s = len(waveform) * SEGMENT_S
    found: dict[torch.dtype | str, Contender] = {}
    for dtype in (torch.float32, torch.bfloat16):
        cqt = CQT(dtype=dtype).to(waveform.device)
        found[dtype] = Contender(f"CQT {_name(dtype)}", audio_s, lambda cqt=cqt: cqt(waveform))
    compiled = torch.compile(CQT().to(waveform.device))
    found["compiled"] = Contender("CQT float32 compiled", audio_s, lambda: compiled(waveform))
    return found


def _shares(
    cqts: Mapping[torch.dtype | str, Contender],
    waveform: Tensor,
    copying: Contender,
    products: Mapping[torch.dtype, Contender],
) -> list[Row]:
    rows = []
    for dtype, product in products.items():
        one = cqts[dtype]
        work = work_of(CQT(dtype=dtype).to(waveform.device), waveform)
        calls = [speed / one.audio_s for speed in one.speeds]
        for what, amount, limit in (
            ("arithmetic", work.operations, product),
            ("bandwidth", work.moved_bytes, copying),
        ):
            shares = [100.0 * each * amount / most for each, most in zip(calls, limit.speeds, strict=True)]
            rows.append(Row("gpu", f"{one.name}, share of {what}", shares, unit="%"))
    return rows


def _added_product(_: Any, left: Sequence[int], right: Sequence[int], **__: Any) -> int:
    """Operations of a product that is added to what is there, by the shapes of its sides."""
    return 2 * left[0] * left[1] * right[1]


@torch.inference_mode()
def work_of(module: nn.Module, waveform: Tensor) -> Work:
    """Operations and bytes of one call."""
    in_place = {torch.ops.aten.addmm_: _added_product}  # which torch does not count by itself
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        module(waveform)
    with _Traffic() as traffic:
        module(waveform)
    return Work(float(counter.get_total_flops()), float(traffic.moved_bytes))


def _networks(device: torch.device) -> dict[str, nn.Module]:
    """Bundle -> its architecture, in evaluation mode; cards are read as plain JSON."""
    torch.manual_seed(0)
    specs = {path.parent.name: json.loads(path.read_text())["architecture"] for path in _BUNDLES.glob("*/bundle.json")}
    return {name: build_model(spec).eval().to(device) for name, spec in sorted(specs.items())}


def _autocast(network: Callable[[Tensor], Tensor], features: Tensor) -> Tensor:
    with torch.autocast(features.device.type, dtype=torch.bfloat16):
        return network(features)


def _ways(name: str, network: nn.Module, features: Tensor) -> list[Contender]:
    """Eager first, which the others are compared with."""
    audio_s = len(features) * SEGMENT_S
    compiled = torch.compile(network)
    return [
        Contender(f"{name} eager float32", audio_s, lambda: network(features)),
        Contender(f"{name} bfloat16", audio_s, lambda: _autocast(network, features)),
        Contender(f"{name} bfloat16 compiled", audio_s, lambda: _autocast(compiled, features)),
    ]


def _feeding(waveform: Tensor, device: torch.device) -> list[Contender]:
    """The whole way of a batch, plain and as fast as torch makes it."""
    samples = (waveform.cpu().clamp(-1.0, 1.0) * 32767.0).to(torch.int16)
    if device.type == "cuda":
        samples = samples.pin_memory()

    def contender(name: str, cqt: nn.Module, *, compiled: bool) -> Contender:
        networks: list[Any] = list(_networks(device).values())
        if compiled:
            networks = [torch.compile(network) for network in networks]

        def heard() -> list[Tensor]:
            features = cqt(samples.to(device, non_blocking=True).float().mul_(1.0 / 32768.0))
            return [_autocast(network, features) if compiled else network(features) for network in networks]

        return Contender(name, len(samples) * SEGMENT_S, heard)

    plain, fast = CQT().to(device), torch.compile(CQT().to(device))
    return [
        contender("transform and all networks, eager float32", plain, compiled=False),
        contender("transform and all networks, bfloat16 compiled", fast, compiled=True),
    ]


def _fed(one: Contender) -> list[Row]:
    if not one.speeds:
        return [Row("gpu", one.name, note=one.reason)]
    return [
        Row("gpu", one.name, one.speeds),
        Row("gpu", one.name, [speed / SEGMENT_S for speed in one.speeds], unit="segments/s"),
        Row("gpu", f"{one.name}, decoders that keep it busy", [speed / DECODED for speed in one.speeds], unit="cores"),
    ]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
