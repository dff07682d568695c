"""Every fault by name, in one table; its parts say what each does on the wire."""

from __future__ import annotations

from worker.sandbox.faults.bodies import BODY_FAULTS
from worker.sandbox.faults.kinds import Circumstances, Fault, Wire
from worker.sandbox.faults.refusals import REFUSING_FAULTS
from worker.sandbox.faults.transport import TRANSPORT_FAULTS
from worker.sandbox.faults.variants import VARIANT_FAULTS

# These two need to know of leads and are played by `dispatch.py`: the table only names them.
NOT_FOUND = Fault("notfound", "Not Found, as for an ID too fresh or too old")
UNPROCESSED = Fault("unprocessed", "a quarantine action is answered as queued and never done", tells_truth=True)

FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (NOT_FOUND, *TRANSPORT_FAULTS, *REFUSING_FAULTS, *BODY_FAULTS, *VARIANT_FAULTS, UNPROCESSED)
}

__all__ = ["FAULTS", "NOT_FOUND", "UNPROCESSED", "Circumstances", "Fault", "Wire"]
