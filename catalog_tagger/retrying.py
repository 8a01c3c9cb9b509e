"""How often a request to object storage is tried, and how long is waited in between.

One policy for every request, so that no two layers multiply their attempts: the clients beneath are
told to try once. (aiohttp still repeats, once and at once, what a kept connection that was closed did
not take; most of those are idle ones.) Waits grow exponentially with full jitter (each is drawn between nothing and its
bound), so that a fleet that was thrown off together does not come back together.

Environment:

- ``AWS_MAX_ATTEMPTS``: attempts at one request, the first included; 8 by default, which waits 16 s in
  all on average and 32 s at most;
- ``CATALOG_TAGGER_READ_TIMEOUT_S``: seconds without a byte after which an answer counts as stalled;
  20 by default. A request to a store that only stalls is thus given up after about three minutes.

Failure rule: what does not pass by itself (access denied, no such object) is raised at once as it
is; after the last attempt at what might, `ExhaustedError` is.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from catalog_tagger.errors import UsageError

T = TypeVar("T")

_ATTEMPTS: Final = 8
_READ_TIMEOUT_S: Final = 20.0
_FIRST_WAIT_S: Final = 0.25
_MOST_WAIT_S: Final = 20.0


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault that may pass, in words that hold nothing of the request."""

    reason: str
    no_connection: bool = False
    """Nothing was reached, so no object is to blame."""


class ExhaustedError(Exception):
    """Every attempt at a request met a fault that may pass."""

    def __init__(self, fault: Fault, *, attempts: int) -> None:
        super().__init__(f"failed {attempts} times in a row, last with {fault.reason}")
        self.fault = fault


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Attempts at a request, and the waits between them."""

    attempts: int = _ATTEMPTS

    @classmethod
    def from_environment(cls) -> RetryPolicy:
        """The policy that ``AWS_MAX_ATTEMPTS`` asks for; a `UsageError` where that is no positive number."""
        text = os.environ.get("AWS_MAX_ATTEMPTS") or str(_ATTEMPTS)
        if not text.isdecimal() or int(text) < 1:
            raise UsageError(f"AWS_MAX_ATTEMPTS={text!r}: not a number of attempts; use 1 or more")
        return cls(attempts=int(text))

    def wait_s(self, failures: int) -> float:
        """Seconds to wait after so many failures, at random below a bound that doubles each time."""
        bound = min(_MOST_WAIT_S, _FIRST_WAIT_S * 2.0 ** min(failures - 1, 32))
        return random.uniform(0.0, bound)  # noqa: S311 - jitter, not a secret

    async def retry(self, call: Callable[[], Awaitable[T]], *, fault_of: Callable[[BaseException], Fault | None]) -> T:
        """Await `call` until it succeeds.

        Parameters
        ----------
        call
            One attempt.
        fault_of
            What a failed attempt met; None for what no further attempt can mend, which is raised as it is.

        Raises
        ------
        ExhaustedError
            The last attempt failed too; its error is the cause.
        """
        failures = 0
        while True:
            try:
                return await call()
            except Exception as error:
                fault = fault_of(error)
                if fault is None:
                    raise
                failures += 1
                if failures >= self.attempts:
                    raise ExhaustedError(fault, attempts=failures) from error
            await asyncio.sleep(self.wait_s(failures))


def read_timeout_s() -> float:
    """Seconds without a byte after which an answer counts as stalled."""
    text = os.environ.get("CATALOG_TAGGER_READ_TIMEOUT_S") or str(_READ_TIMEOUT_S)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < float("inf"):
        raise UsageError(f"CATALOG_TAGGER_READ_TIMEOUT_S={text!r}: not a number of seconds above 0")
    return seconds
