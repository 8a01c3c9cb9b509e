"""Whether a device gains anything by multiplying in bfloat16.

A GPU since 2020 does, and a CPU with AVX-512 BF16 or AMX, which take half of the time of float32. Any
other CPU emulates it and takes many times as long: the paper's network of section 4.2.3 with filters of
three octaves, 64 CQT-grams a step, took 7.0 s against 0.8 s on an AMD EPYC with AVX2 alone.
"""

from __future__ import annotations

import torch


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether `device` has instructions for products in bfloat16; where none are known of, it has not."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
