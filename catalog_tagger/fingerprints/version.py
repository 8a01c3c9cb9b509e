"""Which peaks are picked; by itself, since who plans a run need not load what picks them."""

from __future__ import annotations

from typing import Final

#: of what `peaks` chooses; codes of different versions do not match each other
PEAKS_VERSION: Final = 1
