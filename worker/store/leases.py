"""For how long leads and permits are somebody's."""

from __future__ import annotations

from datetime import timedelta

# Longer than the longest batch: PACE_HORIZON and a delay of 10 s to send in, a deadline (at most 30 s), the settling.
LEASE = timedelta(seconds=60)
# As far ahead as the end of one may seem to be, clocks being what they are: one that ends later is of a clock that has
# been set back since.
LONGEST_LEASE = 2 * LEASE
