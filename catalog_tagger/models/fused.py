"""Networks as they listen on a CPU: convolution, normalisation, addition and rectifier as one step each.

A network is trained layer by layer and used as a whole, so what the layers leave to each other can be settled once:

- batch normalisation is a scale and a shift per map, which go into the filters and the bias before it;
- a residual layer adds its input to a convolution of it: a filter of one at the centre, added to the others;
- the rectifier is applied by the convolution while its result is still in registers (a post-operation of oneDNN),
  where layer by layer it would read and write all maps once more;
- filters are put in oneDNN's blocked order once instead of at every call;
- where the CPU multiplies bfloat16 (AVX-512 BF16, AMX, Arm's BF16), maps and filters are bfloat16, sums float32;
- maps of a few segments fit a core's caches, those of a whole batch do not, so a batch goes through the network
  some segments at a time.

What lies between these stretches of convolutions, level, pooling and heads, stays float32 as it was. Elsewhere (CUDA,
a torch without oneDNN) the network is used as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Final, cast

import torch
from torch import Tensor, nn

from catalog_tagger.models.blocks import Residual

#: segments that go through a network together; measured best of 4, 8, 16, 32
_AT_ONCE: Final = {torch.float32: 8, torch.bfloat16: 16}
#: layers that do nothing in use
_IDLE: Final = (nn.Dropout, nn.Dropout2d, nn.Identity)


def best_dtype() -> torch.dtype:
    """What this machine's CPU multiplies fastest: bfloat16 where it has instructions for it, else float32."""
    return torch.bfloat16 if _multiplies_bfloat16() and can_fuse(torch.bfloat16) else torch.float32


@lru_cache
def can_fuse(dtype: torch.dtype = torch.float32) -> bool:
    """Whether this build of torch has oneDNN and the fused operation that `fused` is made of, by trying it."""
    if not (torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_convolution_pointwise")):
        return False
    try:
        with torch.inference_mode():
            _Convolution(nn.Conv2d(2, 2, 3), None, dtype, rectified=True)(torch.zeros(1, 2, 4, 4, dtype=dtype))
    except RuntimeError:
        return False
    return True


def _multiplies_bfloat16() -> bool:
    """Converting without multiplying (AVX-512 alone) would be slower than float32."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def fused(model: nn.Module, *, dtype: torch.dtype | None = None) -> nn.Module:
    """A copy of a network for inference on a CPU, with its convolutions fused.

    Parameters
    ----------
    model
        Any of `ARCHITECTURES`, trained; it is left as it is. Stretches of layers that are not known here stay.
    dtype
        Of maps and filters, ``torch.float32`` or ``torch.bfloat16``; by default `best_dtype`.

    Returns
    -------
    nn.Module
        In evaluation mode, called as the network is; the network itself where torch has no fused operations.
    """
    dtype = dtype or best_dtype()
    if not can_fuse(dtype):
        return model.eval()
    result = copy.deepcopy(model).eval().requires_grad_(False)
    with _one_thread():
        _replace(result, dtype)
    return FewAtOnce(result, most=_AT_ONCE[dtype])


@contextmanager
def _one_thread() -> Iterator[None]:
    """oneDNN picks the filters' order for as many threads as torch has, and that for one suits any number better."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class FewAtOnce(nn.Module):
    """A network that takes a batch of any size so many items at a time.

    Always so many, with nothing in the place of those that are not there: oneDNN chooses its way by the size of a
    batch, and in bfloat16 another way of summing shows.

    `embed` and `embedding_size` are there where the network has them.
    """

    def __init__(self, model: nn.Module, *, most: int) -> None:
        super().__init__()
        self.model, self.most = model, most
        if hasattr(model, "embedding_size"):
            self.embedding_size = model.embedding_size
            self.embed = self._embed

    def forward(self, features: Tensor) -> Tensor:
        """Logits (batch, n_labels), as the network gives them."""
        return torch.cat([self.model(part) for part in self._parts(features)])[: len(features)]

    def _embed(self, features: Tensor) -> tuple[Tensor, Tensor]:
        embed = cast("Callable[[Tensor], tuple[Tensor, Tensor]]", self.model.embed)
        parts = [embed(part) for part in self._parts(features)]
        logits, embedding = (torch.cat(kind)[: len(features)] for kind in zip(*parts, strict=True))
        return logits, embedding

    def _parts(self, features: Tensor) -> tuple[Tensor, ...]:
        missing = -len(features) % self.most
        if missing:
            features = torch.cat([features, features.new_zeros((missing, *features.shape[1:]))])
        return torch.split(features, self.most)


def _replace(module: nn.Module, dtype: torch.dtype) -> None:
    """Put `FusedStages` in the place of every stretch of layers that it can stand for."""
    for name, child in module.named_children():
        steps = _steps(child, dtype) if isinstance(child, nn.Sequential) else None
        if steps is not None and any(isinstance(step, _Convolution) for step in steps):
            setattr(module, name, FusedStages(steps, dtype))
        else:
            _replace(child, dtype)


def _steps(stages: nn.Sequential, dtype: torch.dtype) -> list[nn.Module] | None:
    """The layers of a sequence as fused steps; None where one of them is not known."""
    layers = [layer for layer in _flat(stages) if not isinstance(layer, _IDLE)]
    steps: list[nn.Module] = []
    while layers:
        layer = layers.pop(0)
        if isinstance(layer, Residual):
            convolution, norm = cast("tuple[nn.Conv2d, nn.BatchNorm2d]", tuple(layer.body))
            steps.append(_Convolution(convolution, norm, dtype, rectified=True, added=True))
        elif isinstance(layer, (nn.Conv1d, nn.Conv2d)) and _is_plain(layer):
            normed = bool(layers) and isinstance(layers[0], (nn.BatchNorm1d, nn.BatchNorm2d))
            following = cast("nn.BatchNorm1d | nn.BatchNorm2d", layers.pop(0)) if normed else None
            rectified = bool(layers) and isinstance(layers[0], nn.ReLU)
            if rectified:
                layers.pop(0)
            steps.append(_Convolution(layer, following, dtype, rectified=rectified))
        elif isinstance(layer, nn.MaxPool2d) and (layer.kernel_size, layer.stride, layer.padding) == (2, 2, 0):
            steps.append(_Halved())
        else:
            return None
    return steps


def _flat(stages: nn.Sequential) -> Iterator[nn.Module]:
    for layer in stages:
        if isinstance(layer, nn.Sequential):
            yield from _flat(layer)
        else:
            yield layer


def _is_plain(convolution: nn.Conv1d | nn.Conv2d) -> bool:
    return convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)


class FusedStages(nn.Module):
    """Maps (batch, c, t, f), or (batch, c, t), in float32 through fused steps to such maps in float32."""

    def __init__(self, steps: list[nn.Module], dtype: torch.dtype) -> None:
        super().__init__()
        self.steps = nn.Sequential(*steps)
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        """What the layers that these steps stand for would answer, within the rounding of `dtype`."""
        flat = x.ndim == 3
        maps = x[:, :, None] if flat else x
        out: Tensor = self.steps(maps.to(self.dtype).contiguous(memory_format=torch.channels_last)).float()
        return out[:, :, 0] if flat else out


class _Convolution(nn.Module):
    """A convolution with what follows it.

    Parameters
    ----------
    norm
        The normalisation of its result, if any.
    rectified
        Whether the network rectifies that.
    added
        Whether the input is added before it is rectified.
    """

    def __init__(
        self,
        convolution: nn.Conv1d | nn.Conv2d,
        norm: nn.BatchNorm1d | nn.BatchNorm2d | None,
        dtype: torch.dtype,
        *,
        rectified: bool,
        added: bool = False,
    ) -> None:
        super().__init__()
        weight, bias = _folded(convolution, norm)
        if added:
            weight += nn.init.dirac_(torch.empty_like(weight))
        line = weight.ndim == 3  # along time alone: a picture of one row
        sizes = (convolution.padding, convolution.stride, convolution.dilation)
        self.padding, self.stride, self.dilation = (
            [along_row, *size] if line else list(size) for size, along_row in zip(sizes, (0, 1, 1), strict=True)
        )
        self.groups = convolution.groups
        # no buffer: oneDNN's blocked order has no storage that could be moved or saved
        self.weight = torch._C._nn.mkldnn_reorder_conv2d_weight(
            (weight[:, :, None] if line else weight).to(dtype).to_mkldnn(),
            self.padding,
            self.stride,
            self.dilation,
            self.groups,
        )
        self.bias = bias.to(dtype)
        self.then = "relu" if rectified else "none"

    def forward(self, x: Tensor) -> Tensor:
        sizes = (self.padding, self.stride, self.dilation, self.groups)
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(x, self.weight, self.bias, *sizes, self.then, [], "")
        return out


class _Halved(nn.Module):
    """The largest of every two by two values: torch's own pooling notes where each lay, at twice the time."""

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
        rows = torch.maximum(x[:, :, ::2], x[:, :, 1::2])
        return torch.maximum(rows[..., ::2], rows[..., 1::2])


def _folded(convolution: nn.Conv1d | nn.Conv2d, norm: nn.BatchNorm1d | nn.BatchNorm2d | None) -> tuple[Tensor, Tensor]:
    """Filters and bias of a convolution and the normalisation of its result, reckoned in float64."""
    weight = convolution.weight.detach().double()
    bias = torch.zeros(len(weight), dtype=torch.float64)
    if convolution.bias is not None:
        bias = convolution.bias.detach().double()
    if norm is not None:
        if norm.running_mean is None or norm.running_var is None:
            raise ValueError("a normalisation without running statistics cannot be folded")
        scale = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
        bias = (bias - norm.running_mean.double()) * scale + norm.bias.detach().double()
        weight = weight * scale.view(-1, *[1] * (weight.ndim - 1))
    return weight.float(), bias.float()
