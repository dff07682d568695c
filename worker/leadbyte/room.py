"""How many requests of a window may be under way: as few as keep its caller busy, as many as LeadByte's pace needs.

A request whose answer lies in its socket until the caller is through with others gains nothing by having left earlier.
It costs one connection more, LeadByte's and ours, and a handle more that goes in and out of a core's cache: with 200 at
once where 64 would do, a lead costs a quarter more CPU. Used by `lanes`; `curl_transport` says what it sees.
"""

from __future__ import annotations

import math

LEAST = 64  # fewer would show in what each look at all of them costs
PATIENCE_SECONDS = 0.005  # what a caller with a full window waits before it has more under way


class Room:
    """Begins with `least`, and follows what its caller says it sees. `most` is a bound that is never exceeded."""

    def __init__(self, most: int, least: int = LEAST) -> None:
        self._least, self._most = min(least, most), most
        self._waited = 0.0
        self.at_most = self._least

    @property
    def patience(self) -> float:
        """How many seconds more to wait before having more under way; inf where there can't be more."""
        return PATIENCE_SECONDS - self._waited if self.at_most < self._most else math.inf

    def note_look(self, under_way: int, ended: int) -> None:
        """The caller had other things to do: meanwhile so many of those under way have ended."""
        if 2 * ended > under_way:
            self.at_most = max(self._least, self.at_most - self.at_most // 8)
            self._waited = 0.0

    def note_wait(self, seconds: float) -> None:
        """The caller had nothing to do, with as many under way as there may be."""
        self._waited += seconds
        if self.patience <= 0:
            self.at_most = min(self._most, 2 * self.at_most)
            self._waited = 0.0
