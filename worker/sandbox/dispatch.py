"""One call from arrival to last byte: counted, admitted, gone wrong if it is to, answered."""

from __future__ import annotations

import asyncio

from worker.sandbox.access import Access, refuse_key, refuse_permission
from worker.sandbox.call import Call, identify_kind, list_targets, read_payload
from worker.sandbox.call_log import UNKNOWN_ACCOUNT, CallLog
from worker.sandbox.faults import NOT_FOUND, UNPROCESSED, Circumstances, Fault, Wire
from worker.sandbox.lead import Lead, snapshot_lead
from worker.sandbox.ledger import Ledger
from worker.sandbox.protocol import Reply, Request, encode_json
from worker.sandbox.quarantine import QuarantineDesk
from worker.sandbox.quarantine_calls import QuarantineCalls
from worker.sandbox.queue_calls import QueueCalls
from worker.sandbox.scripts import Script
from worker.sandbox.settings import SandboxSettings
from worker.sandbox.shapes import shape_error


class Sandbox:
    """Everything one sandbox knows, and how it answers a LeadByte call."""

    def __init__(self, settings: SandboxSettings) -> None:
        self.settings = settings
        self.advanced_seconds = 0.0
        self.ledger = Ledger(settings, self.read_clock)
        self.desk = QuarantineDesk(settings, self.ledger, self.read_clock)
        self.script = Script(settings)
        self.access = Access(settings)
        self.calls = CallLog()
        self._queue = QueueCalls(settings, self.ledger, self.read_clock)
        self._quarantine = QuarantineCalls(self.desk)

    def read_clock(self) -> float:
        """The sandbox's Unix seconds: the settings' clock, advanced by hand."""
        return self.settings.clock() + self.advanced_seconds

    async def answer_call(self, request: Request, wire: Wire) -> bool:
        """Answer one LeadByte call; whether the connection can go on."""
        found = identify_kind(request)
        if found is None:
            await wire.send_reply(encode_json(shape_error("Unknown call"), 404))
            return True
        try:
            payload = read_payload(request)
        except ValueError:
            await wire.send_reply(encode_json(shape_error("Invalid JSON"), 400))
            return True
        kind, path_id = found
        account = self.access.identify_account(kind, request, payload) or UNKNOWN_ACCOUNT
        with self.calls.record_call(kind, account) as under_way:
            if self.settings.latency_seconds:
                await asyncio.sleep(self.settings.latency_seconds)
            self.desk.carry_out_due(self.read_clock())
            refusal = self._refuse_admission(kind, account, payload, under_way)
            if refusal is not None:
                return await self._send(refusal, account, wire)
            call = Call(kind, account, payload, list_targets(kind, path_id, payload))
            return await self._answer_admitted(call, wire)

    def _refuse_admission(self, kind: str, account: str, payload: object, under_way: int) -> Reply | None:
        if account == UNKNOWN_ACCOUNT:
            return refuse_key()
        if missing := self.access.list_missing(kind, payload):
            return refuse_permission(missing)
        crowd = self.settings.empty_above_concurrency
        return Reply(200) if crowd is not None and under_way > crowd else None

    async def _answer_admitted(self, call: Call, wire: Wire) -> bool:
        if call.kind in {"poll", "poll_batch"}:
            self._find_leads(call)
        picked = self.script.pick_fault(call.kind, call.targets, call.leads)
        for lead in call.leads:
            lead.polls += 1
        if picked is not None:
            return await self._play_fault(*picked, call, wire)
        reply = self._perform(call)
        final_leads = self._list_final_leads(call)
        keeps = await self._send(reply, call.account, wire)
        self._note_final_answers(final_leads)
        return keeps

    def _perform(self, call: Call, *, takes_effect: bool = True) -> Reply:
        """The true answer; everything it says has taken effect when this returns."""
        if call.kind == "poll":
            return self._queue.answer_poll(call)
        if call.kind == "poll_batch":
            return self._queue.answer_batch(call)
        if call.kind == "submit":
            return self._queue.take_submission(call)
        if call.kind == "update":
            return self._quarantine.update_leads(call, takes_effect=takes_effect)
        return self._quarantine.process_leads(call, takes_effect=takes_effect)

    def _find_leads(self, call: Call) -> None:
        for queue_id in call.targets:
            lead = self.ledger.find_lead(call.account, queue_id)
            if lead is None:
                self.calls.record_unknown_poll()
            else:
                call.leads.append(lead)

    async def _play_fault(self, fault: Fault, by: Circumstances, call: Call, wire: Wire) -> bool:
        self.calls.record_fault(fault.name)
        if fault.refuse is not None:
            return await self._send(fault.refuse(by), call.account, wire)
        if fault is NOT_FOUND:
            return await self._send(self._queue.answer_not_found(call), call.account, wire)
        reply = self._perform(call, takes_effect=fault is not UNPROCESSED) if fault.acts else Reply(200)
        final_leads = self._list_final_leads(call) if fault.tells_truth else []
        if fault.mangle is not None:
            reply = fault.mangle(reply, by)
        keeps = await (fault.send(wire, reply, by) if fault.send else self._send(reply, call.account, wire))
        self._note_final_answers(final_leads)
        return keeps

    async def _send(self, reply: Reply, account: str, wire: Wire) -> bool:
        self.calls.record_answer(account, reply.status, dict(reply.headers).get("Retry-After"))
        await wire.send_reply(reply)
        return True

    def _list_final_leads(self, call: Call) -> list[Lead]:
        """The leads whose final state the answer just made tells; by the time it has travelled more may be final."""
        if call.kind == "submit" and not self.settings.live_buyer_responses:
            return []
        now = self.read_clock()
        return [lead for lead in call.leads if snapshot_lead(lead, now).is_final]

    def _note_final_answers(self, leads: list[Lead]) -> None:
        now = self.read_clock()
        for lead in leads:
            if lead.first_final_answer_at is None:
                lead.first_final_answer_at, lead.polls_until_final = now, lead.polls
