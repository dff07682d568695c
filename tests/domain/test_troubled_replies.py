"""Answers that tell nothing of the lead: whose trouble each of them is, the lead's or the account's."""

from __future__ import annotations

import json

import pytest

from worker.domain.classify import Meaning, Reading, classify_reply
from worker.domain.facts import Facts
from worker.leadbyte.wire import decode_body

QUEUE_ID = "ac1e0206-12eaee18-63765b37-471b-f60cd31d"
OURS = json.dumps({"records": [{"queueId": QUEUE_ID, "status": "Approved"}]})


def read(http_status: int, body: str) -> Reading:
    decoded = decode_body(body.encode())
    return classify_reply(QUEUE_ID, http_status, decoded.document, decoded.text)


def complain(*words: object, message: object = None) -> str:
    return json.dumps({"status": "Error", "message": message, "errors": list(words)})


LOGIN = "<!DOCTYPE html><title>LeadByte - Log in</title>"
FAILED, REFUSED, THROTTLED, NOT_FOUND = Meaning.FAILED, Meaning.REFUSED, Meaning.THROTTLED, Meaning.NOT_FOUND

TROUBLES = [
    # HTTP status, body, meaning, a part of the reason
    (401, "", REFUSED, "HTTP 401"),
    (403, "<html>Forbidden</html>", REFUSED, "HTTP 403"),
    (401, complain("Invalid API key"), REFUSED, "Invalid API key"),
    (200, complain(message="Invalid API key"), REFUSED, "Invalid API key"),
    (400, complain({"message": "Key not recognised"}), REFUSED, "Key not recognised"),
    (200, complain("API key lacks permission: API queue"), REFUSED, "lacks permission"),
    (500, complain("Unauthorised"), REFUSED, "Unauthorised"),
    (200, LOGIN, REFUSED, "login or suspended"),
    (200, "<html><p>This account is suspended.</html>", REFUSED, "login or suspended"),
    (200, "<html><h1 class=x>Sign in to LeadByte</h1></html>", REFUSED, "login or suspended"),
    (200, "<html><form><input name=p type='password'></form></html>", REFUSED, "login or suspended"),
    (200, complain(message="Your account has been suspended"), REFUSED, "suspended"),
    (200, complain(message="You have no permission for the API queue"), REFUSED, "no permission"),
    (200, complain(message="Please log in"), REFUSED, "log in"),
    (200, "<html><title>Maintenance</title><a href=/login>Login</a></html>", FAILED, "a web page"),
    (200, "<html>This lead was suspended, permission denied</html>", FAILED, "a web page"),
    (200, complain(message="Lead failed: no permission to contact consumer"), FAILED, "no permission"),
    (200, complain(message="Supplier not authorised"), FAILED, "not authorised"),
    (200, complain(message="Lead suspended, logging into the buyer's system failed"), FAILED, "suspended"),
    (200, complain(message="Campaign: sign in sheet not allowed"), FAILED, "not allowed"),
    (503, complain(message="The consumer's authentication is forbidden"), FAILED, "HTTP 503"),
    (200, complain(message="API queue: record not found"), NOT_FOUND, "not found"),
    (429, "", THROTTLED, "HTTP 429"),
    (429, complain(message="Too many requests for this API key"), THROTTLED, "Too many requests"),
    (200, complain(message="Rate limit exceeded"), THROTTLED, "Rate limit"),
    (503, complain(message="too many requests"), THROTTLED, "too many requests"),
    (404, "", NOT_FOUND, "HTTP 404"),
    (404, "<html>404</html>", NOT_FOUND, "HTTP 404"),
    (404, complain("whatever"), NOT_FOUND, "whatever"),
    (200, complain("Lead not found"), NOT_FOUND, "Lead not found"),
    (400, complain("No such queue"), NOT_FOUND, "No such queue"),
    (200, json.dumps({"records": [{"queueId": QUEUE_ID, "status": "Not Found"}]}), NOT_FOUND, "Not Found"),
    (200, json.dumps({"results": [{"queueRef": QUEUE_ID, "status": "not_found"}]}), NOT_FOUND, "Not Found"),
    (200, '{"status":"Error"}', FAILED, "without a message"),
    (200, '{"status":"error","message":"","errors":null}', FAILED, "without a message"),
    (200, '{"status":"Error","errors":["a","b","a",{"error":"c"},{},7,null]}', FAILED, "a; b; c"),
    (200, '{"status":"Failed","message":"System busy"}', FAILED, "System busy"),
    (500, OURS, FAILED, "HTTP 500"),
    (503, "", FAILED, "HTTP 503"),
    (599, complain("Lead not found"), FAILED, "HTTP 599"),
    (100, OURS, FAILED, "HTTP 100"),
    (302, OURS, FAILED, "HTTP 302"),
    (400, OURS, FAILED, "HTTP 400"),
    (200, "", FAILED, "empty"),
    (204, "", FAILED, "empty"),
    (200, " \n", FAILED, "empty"),
    (200, "null", FAILED, "empty"),
    (200, "[]", FAILED, "empty"),
    (200, "{}", FAILED, "empty"),
    (200, '""', FAILED, "no JSON object"),
    (200, "7", FAILED, "no JSON object"),
    (200, OURS[: len(OURS) // 2], FAILED, "no JSON object"),
    (200, "Approved", FAILED, "no JSON object"),
    (200, "<html>We'll be back</html>", FAILED, "a web page"),
    (200, '{"status":"Success"}', FAILED, "no record"),
    # Refusals in bare objects, and in plain text.
    (200, '{"error":"Unauthorized"}', REFUSED, "Unauthorized"),
    (200, '{"error":{"code":401,"message":"No"}}', REFUSED, "No"),
    (200, '{"success":false,"message":"Invalid API key"}', REFUSED, "Invalid API key"),
    (200, '{"success":"0","message":"Invalid API key"}', REFUSED, "Invalid API key"),
    (200, '{"code":401,"message":"Nope"}', REFUSED, "Nope"),
    (200, '{"statusCode":"403"}', REFUSED, "HTTP 200"),
    (200, '{"status":401}', REFUSED, "401"),
    (200, '{"status":"Unauthorized"}', REFUSED, "Unauthorized"),
    (200, '{"status":"Denied"}', REFUSED, "Denied"),
    (200, '{"status":"Forbidden","records":[]}', REFUSED, "Forbidden"),
    (200, '{"error":"Unauthorized","records":[]}', REFUSED, "Unauthorized"),
    (200, '[{"error":"Unauthorized"}]', REFUSED, "Unauthorized"),
    (200, '["Invalid API key"]', REFUSED, "Invalid API key"),
    (200, '{"errors":{"key":["is invalid"]}}', REFUSED, "key: is invalid"),
    (200, '{"error":"Forbidden: your key has no permission for API queue"}', REFUSED, "no permission"),
    (200, "Invalid API key", REFUSED, "Invalid API key"),
    (200, '"Invalid API key"', REFUSED, "Invalid API key"),
    (200, "Unauthorized", REFUSED, "Unauthorized"),
    (200, "Access denied.", REFUSED, "Access denied"),
    (200, complain(message="API key lacks permission: Leads > API queue"), REFUSED, "lacks permission"),
    (200, "Rate limit exceeded", THROTTLED, "Rate limit"),
    (200, '{"message":"Too many requests"}', THROTTLED, "Too many"),
    (200, '{"error":"too_many_requests"}', THROTTLED, "too_many"),
    (200, '{"code":429}', THROTTLED, "HTTP 429"),
    (403, complain(message="Rate limit exceeded"), THROTTLED, "Rate limit"),
    (200, '{"message":"No records found","records":[]}', NOT_FOUND, "No records found"),
    (200, '{"status":"Not Found"}', NOT_FOUND, "Not Found"),
    (200, '{"code":404,"message":"gone"}', NOT_FOUND, "gone"),
    (200, "Queue ID not found", NOT_FOUND, "not found"),
    (200, '{"success":false}', FAILED, "without a message"),
    (200, '{"success":false,"message":"System busy"}', FAILED, "System busy"),
    (200, '{"error":"database gone away"}', FAILED, "gone away"),
    (200, '{"code":500,"message":"oops"}', FAILED, "oops"),
    (500, "Lead not found", FAILED, "HTTP 500"),
    (200, complain("Insufficient privileges for API Queue"), REFUSED, "Insufficient privileges"),
    (200, complain("You are not authorised to access this resource"), REFUSED, "not authorised"),
    (200, complain("User does not have permission"), REFUSED, "not have permission"),
    (200, complain("The key provided is not valid"), REFUSED, "not valid"),
    (200, complain("Authentication failure"), REFUSED, "Authentication failure"),
    (200, complain("invalid_key"), REFUSED, "invalid_key"),
    (200, complain("Missing key"), REFUSED, "Missing key"),
    (200, complain("Your IP is not allowed"), REFUSED, "Your IP"),
    (200, complain("API call limit exceeded"), THROTTLED, "limit exceeded"),
    (200, complain("Request limit reached, please try again later"), THROTTLED, "limit reached"),
    (200, complain("The request was throttled"), THROTTLED, "throttled"),
    (200, complain("The queue ID could not be found"), NOT_FOUND, "not be found"),
    (200, complain("Insufficient permissions"), REFUSED, "Insufficient permissions"),
    (200, complain("You are not permitted to perform this action"), REFUSED, "not permitted"),
    (200, complain("Not permitted"), REFUSED, "Not permitted"),
    (200, complain("API Queue: permission required"), REFUSED, "permission required"),
    (200, complain("IP address not whitelisted"), REFUSED, "whitelisted"),
    (200, complain("Account not found"), REFUSED, "Account not found"),
    (200, complain("Your account is inactive"), REFUSED, "inactive"),
    (200, complain("Your subscription has expired"), REFUSED, "expired"),
    (200, complain("Key required"), REFUSED, "Key required"),
    (200, complain({"field": "key", "error": "invalid"}), REFUSED, "key: invalid"),
    (200, complain({"code": 403, "message": "No"}), REFUSED, "No"),
    (200, complain("Please slow down"), THROTTLED, "slow down"),
    (200, complain("Limit exceeded"), THROTTLED, "Limit"),
    (200, complain("Invalid queue ID"), NOT_FOUND, "Invalid queue ID"),
    (200, complain("No results"), NOT_FOUND, "No results"),
    # What else is not found tells nothing of the lead.
    (200, complain("Campaign not found"), FAILED, "Campaign not found"),
    (200, complain("Buyer account not found"), FAILED, "Buyer account"),
    (200, complain("Page not found"), FAILED, "Page not found"),
    (200, complain("The endpoint could not be found"), FAILED, "endpoint"),
    (200, "<html><h1>Page not found</h1><a href=/account>Account</a></html>", FAILED, "a web page"),
    # Words that speak of somebody else.
    (200, complain("Invalid account number"), FAILED, "account number"),
    (200, complain({"field": "email", "error": "invalid"}), FAILED, "email: invalid"),
    (200, complain("Remote system error: too many requests"), FAILED, "too many requests"),
    (200, complain("The buyer's API answered: rate limit exceeded"), FAILED, "buyer"),
    (200, complain("Lead held by a throttle rule"), FAILED, "throttle rule"),
    (200, complain("Missing key: email"), FAILED, "Missing key"),
    (200, complain("IP address blocked"), FAILED, "IP address"),
    (200, complain("You are not authorised to view this lead"), FAILED, "this lead"),
    (200, complain("Campaign limit reached"), FAILED, "limit reached"),
    (200, complain(message="The buyer's API key is invalid"), FAILED, "buyer"),
    (200, complain(message="Remote system error: invalid credentials"), FAILED, "Remote"),
    (200, complain(message="Buyer account suspended"), FAILED, "Buyer"),
    (200, complain(message="No permission to call the consumer"), FAILED, "consumer"),
    (200, complain(message="Consumer not authenticated"), FAILED, "Consumer"),
    (200, complain(message='Undefined array key "x"'), FAILED, "array key"),
    (200, '{"status":"Error","code":-7,"message":"Not authorised"}', FAILED, "Not authorised"),
    (200, "Please sign the account sheet in ink", FAILED, "no JSON object"),
    (
        200,
        "<b>Warning</b>: include(/www/login.php): account disabled in /www/x.php on line <b>3</b><br />",
        FAILED,
        "empty",
    ),
    (
        200,
        "PHP Warning: account.php: permission denied, login.php disabled on line 7\nApproved",
        FAILED,
        "no JSON object",
    ),
]


@pytest.mark.parametrize(("http_status", "body", "meaning", "reason"), TROUBLES)
def test_a_trouble_is_told_by_its_content(http_status: int, body: str, meaning: Meaning, reason: str) -> None:
    reading = read(http_status, body)
    assert (reading.meaning, reading.state, reading.facts) == (meaning, None, Facts())
    assert reason in reading.reason


@pytest.mark.parametrize("http_status", [200, 201, 299])
def test_every_success_is_read(http_status: int) -> None:
    assert read(http_status, OURS).meaning is Meaning.TOLD


def test_a_reason_is_one_line_whatever_is_complained() -> None:
    reading = read(200, complain("first\nsecond\x1b[31m\u2028third"))
    assert reading.reason == "LeadByte answered an error: first second [31m third"
