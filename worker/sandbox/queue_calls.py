"""LeadByte's calls on the queue, answered truly: submit a lead, poll one, poll several."""

from __future__ import annotations

from collections.abc import Callable

from worker.sandbox.call import Call, list_objects
from worker.sandbox.lead import snapshot_lead
from worker.sandbox.ledger import Ledger
from worker.sandbox.protocol import Reply, encode_json
from worker.sandbox.settings import SandboxSettings
from worker.sandbox.shapes import (
    shape_batch_record,
    shape_error,
    shape_not_found,
    shape_poll,
    shape_records,
    shape_submission,
)


class QueueCalls:
    """Answers from the ledger; `call.leads` holds the leads that a poll is about."""

    def __init__(self, settings: SandboxSettings, ledger: Ledger, read_clock: Callable[[], float]) -> None:
        self._settings = settings
        self._ledger = ledger
        self._read_clock = read_clock

    def answer_poll(self, call: Call) -> Reply:
        """One lead as it stands now."""
        if not call.leads:
            return self.answer_not_found(call)
        lead = call.leads[0]
        return encode_json(shape_poll(lead, snapshot_lead(lead, self._read_clock()), self._settings))

    def answer_batch(self, call: Call) -> Reply:
        """Several leads, in the order asked for."""
        now, known = self._read_clock(), {lead.queue_id: lead for lead in call.leads}
        records = [
            shape_batch_record(known[queue_id], snapshot_lead(known[queue_id], now), self._settings)
            if queue_id in known
            else shape_not_found(queue_id)
            for queue_id in call.targets
        ]
        return encode_json(shape_records(records))

    def answer_not_found(self, call: Call) -> Reply:
        """Not Found for each ID asked about."""
        records = [shape_not_found(queue_id) for queue_id in call.targets]
        return encode_json(shape_records(records), self._settings.not_found_http_status)

    def take_submission(self, call: Call) -> Reply:
        """Queue one lead or a list of them."""
        several = call.payload if isinstance(call.payload, list) else call.body.get("leads", [call.body])
        submitted = [item for item in list_objects(several) if item]
        if not submitted:
            return encode_json(shape_error("No lead submitted", "The body must be a lead or a list of leads"))
        call.leads = [self._ledger.submit_lead(call.account, item) for item in submitted]
        call.targets = [lead.queue_id for lead in call.leads]
        if not self._settings.live_buyer_responses:
            return encode_json(shape_submission(call.targets))
        return self.answer_poll(call) if len(call.leads) == 1 else self.answer_batch(call)
