"""The sandbox's own door, `/sandbox/…`, for tests, the demo and people; no key, but loopback only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from worker.sandbox.call import read_payload
from worker.sandbox.dispatch import Sandbox
from worker.sandbox.protocol import Reply, Request, encode_json
from worker.sandbox.quarantine import ACTIONS
from worker.sandbox.shapes import Json
from worker.sandbox.truth import tell_truth

PREFIX = "/sandbox/"


def answer_control(sandbox: Sandbox, request: Request) -> Reply:
    """Answer one control call; mistakes come back as 400 with one clear line."""
    handle = _HANDLERS.get((request.method, request.path.removeprefix(PREFIX)))
    if handle is None:
        return encode_json({"error": f"no {request.method} {request.path}"}, 404)
    sandbox.desk.carry_out_due(sandbox.read_clock())
    try:
        body = read_payload(request)
        if not isinstance(body, dict):
            return encode_json({"error": "the body must be a JSON object"}, 400)
        return encode_json(handle(sandbox, request, body))
    except (ValueError, TypeError, KeyError) as problem:
        return encode_json({"error": f"{type(problem).__name__}: {problem}"}, 400)


def _tell_health(sandbox: Sandbox, _request: Request, _body: Json) -> Json:
    return {"status": "ok", "seed": sandbox.settings.seed, "leads": len(sandbox.ledger), "now": sandbox.read_clock()}


def _tell_truth(sandbox: Sandbox, request: Request, _body: Json) -> Json:
    now, account = sandbox.read_clock(), request.query.get("account")
    leads = [lead for lead in sandbox.ledger.list_leads() if account in {None, lead.account}]
    return {lead.queue_id: tell_truth(lead, now, sandbox.settings) for lead in leads}


def _tell_calls(sandbox: Sandbox, request: Request, _body: Json) -> Json:
    leads = sandbox.ledger.list_leads()
    requests: dict[str, dict[str, int]] = {}
    for (quarantine_id, action), times in sandbox.desk.requests.items():
        requests.setdefault(str(quarantine_id), {})[action] = times
    final_answers = {lead.queue_id: lead.first_final_answer_at for lead in leads if lead.first_final_answer_at}
    return {
        **sandbox.calls.summarise(with_instants="instants" in request.query),
        "polls": {lead.queue_id: lead.polls for lead in leads},
        "final_answers": final_answers,
        "quarantine_requests": requests,
    }


def _tell_actions(sandbox: Sandbox, _request: Request, _body: Json) -> Json:
    return {"actions": sandbox.desk.actions}


def _add_rule(sandbox: Sandbox, _request: Request, body: Json) -> Json:
    times = body.get("times")
    if times is not None and not isinstance(times, int):
        raise TypeError('"times" must be a whole number or null')
    sandbox.script.add_rule(str(body["match"]), str(body["fault"]), times)
    return {"status": "ok"}


def _clear_rules(sandbox: Sandbox, _request: Request, _body: Json) -> Json:
    sandbox.script.clear_rules()
    return {"status": "ok"}


def _advance_clock(sandbox: Sandbox, _request: Request, body: Json) -> Json:
    seconds = float(body["seconds"])
    # Negated, so that NaN is refused too.
    if not 0 <= seconds <= _MOST_SECONDS:
        raise ValueError(f'"seconds" must lie between 0 and {_MOST_SECONDS}: the sandbox never goes back')
    sandbox.advanced_seconds += seconds
    sandbox.desk.carry_out_due(sandbox.read_clock())
    return {"now": sandbox.read_clock()}


def _rotate_key(sandbox: Sandbox, _request: Request, body: Json) -> Json:
    sandbox.access.rotate_key(str(body["account"]), str(body["key"]))
    return {"status": "ok"}


def _act_as_person(sandbox: Sandbox, _request: Request, body: Json) -> Json:
    if body["action"] not in ACTIONS:
        raise ValueError('"action" must be "process" or "reject"')
    took_effect = sandbox.desk.act_as_person(int(body["quarantine_id"]), body["action"])
    return {"took_effect": took_effect}


def _spring_trap(sandbox: Sandbox, request: Request, _body: Json) -> Json:
    sandbox.calls.record_trapped(carries_key="x_key" in request.headers or "key" in request.query)
    return {"trapped": True}


_MOST_SECONDS = 10 * 365 * 86_400
_HANDLERS: dict[tuple[str, str], Callable[[Sandbox, Request, Json], dict[str, Any]]] = {
    ("GET", "health"): _tell_health,
    ("GET", "truth"): _tell_truth,
    ("GET", "calls"): _tell_calls,
    ("GET", "actions"): _tell_actions,
    ("POST", "script"): _add_rule,
    ("DELETE", "script"): _clear_rules,
    ("POST", "advance"): _advance_clock,
    ("POST", "key"): _rotate_key,
    ("POST", "person"): _act_as_person,
    ("GET", "trap"): _spring_trap,
}
