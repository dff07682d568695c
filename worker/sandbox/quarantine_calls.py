"""LeadByte's calls on quarantined leads, as they read on the wire. What they do is `quarantine.py`'s."""

from __future__ import annotations

from worker.sandbox.call import Call, list_objects
from worker.sandbox.protocol import Reply, encode_json
from worker.sandbox.quarantine import ACTIONS, QuarantineDesk
from worker.sandbox.shapes import Json, shape_error

_QUEUED_WORDS = {"process": "queued for processing", "reject": "queued for rejection"}
_MAX_DIGITS = 18
# A value with this word in it is no value of any field: LeadByte's refusal then names the field and quotes the value.
_NO_VALUE = "INVALID"


class QuarantineCalls:
    """Answers the calls of an account; with `takes_effect` False, a release or rejection is promised and forgotten."""

    def __init__(self, desk: QuarantineDesk) -> None:
        self._desk = desk

    def update_leads(self, call: Call, *, takes_effect: bool) -> Reply:
        """PUT /leads: new field values, and perhaps an action, for each of several leads."""
        items = list_objects(call.body.get("leads"))
        if not items:
            return encode_json(shape_error("No leads to update", '"leads" must be a list of objects'))
        results, sentences = [], []
        for item in items:
            complaint = _complain_about_fields(item)
            updated = complaint is None and self._update_one(call.account, item)
            words = complaint or ("Quarantine lead updated" if updated else "Quarantine lead not found")
            results.append({"quarantineId": item.get("quarantineId"), "success": updated, "message": words})
            if updated and self._act_on_one(call.account, item, takes_effect=takes_effect):
                sentences.append(f"Quarantine ID '{item['quarantineId']}' {_QUEUED_WORDS[item['action']]}")
        answer: Json = {"status": "Success", "message": "OK", "leads": results}
        if any("action" in item for item in items):
            # LeadByte's own spelling.
            answer["quaratineReleaseResults"] = sentences
        return encode_json(answer)

    def process_leads(self, call: Call, *, takes_effect: bool) -> Reply:
        """POST /quarantine/process: release or reject one lead, or several in the undocumented bulk form."""
        action = call.body.get("action")
        if action not in ACTIONS or not call.targets:
            return encode_json(shape_error("Invalid request", 'quarantineId and action "process" or "reject" needed'))
        details = {}
        for text in call.targets:
            item = {"quarantineId": text, "action": action}
            queued = self._act_on_one(call.account, item, takes_effect=takes_effect)
            details[text] = _QUEUED_WORDS[action].capitalize() if queued else "Not found in quarantine"
        if set(details.values()) == {"Not found in quarantine"}:
            return encode_json({**shape_error("Quarantined lead not found"), "details": details})
        message = "Quarantined lead(s) processed successfully"
        return encode_json({"status": "Success", "message": message, "details": details})

    def _update_one(self, account: str, item: Json) -> bool:
        quarantine_id, update = _read_id(item), item.get("update", {})
        if quarantine_id is None or not isinstance(update, dict):
            return False
        return self._desk.update_fields(account, quarantine_id, update)

    def _act_on_one(self, account: str, item: Json, *, takes_effect: bool) -> bool:
        quarantine_id, action = _read_id(item), item.get("action")
        if quarantine_id is None or action not in ACTIONS:
            return False
        return self._desk.queue_action(account, quarantine_id, action, takes_effect=takes_effect)


def _complain_about_fields(item: Json) -> str | None:
    update = item.get("update")
    fields = update.items() if isinstance(update, dict) else ()
    return next((f"{name} '{value}' is not valid" for name, value in fields if _NO_VALUE in str(value)), None)


def _read_id(item: Json) -> int | None:
    """A quarantine ID is a string in PUT and a number in POST."""
    text = str(item.get("quarantineId"))
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else None
