"""Whether LeadByte's words refuse us, the key or the account, rather than speak of a lead: a wrong yes stops polling.

The shapes of refusals are undocumented, so a word for us must stand near a word that refuses, and nobody else's name
near both: "no permission to contact the consumer" and "the buyer's account is suspended" are about a lead. Neighbour:
`worker.domain.classify`, which asks.
"""

from __future__ import annotations

import re

LONGEST_PAGE = 20_000  # characters of a page that are looked at: its title, its heading, its form
_REACH = 30  # characters before and after a match in which somebody else may be named

_NOT_LET = r"not (permitted|allowed|enabled|authori[sz]ed)"
_DENIED = rf"(permissions?|privileges?|unauthori[sz]ed|forbidden|denied|{_NOT_LET}|disabled)"
_BAD = r"(invalid|incorrect|wrong|unknown|missing|required|expired|revoked|inactive|suspended|not|no|lacks?|cannot)"
_CLOSED = r"(suspended|disabled|deactivated|locked|closed)"
_NO_ACCOUNT = r"(inactive|expired|invalid|unknown|not (be )?found)"


def _near(ours: str, refusing: str) -> str:
    return rf"\b{ours}\b.{{0,40}}\b{refusing}\b|\b{refusing}\b.{{0,40}}\b{ours}\b"


_CLOSED_ACCOUNT = re.compile(_near("account", _CLOSED), re.IGNORECASE)
_LEAVE = r"(permissions?|privileges?|access rights?)"
_KEY_TROUBLE = re.compile(
    "|".join(
        [
            _near(r"(api[ _-]?key|x[_-]key|api[ _-]?token|credentials?)", rf"({_DENIED}|{_BAD})"),
            _near(r"account(?! (number|no|name|type|holder)\b)", _NO_ACCOUNT),
            # "API queue" is the permission a key needs to poll (documented).
            _near(r"api[ _-]?(queue|access|user)", _DENIED),
            r"\bpermissions? to (access|use|view|poll|read)\b",
            r"\b(invalid|incorrect|wrong|unknown)[ _-]key\b(?! [\"'(])",
            rf"\byour ip( address)?\b.{{0,20}}\b({_NOT_LET}|not white-?listed|blocked|denied)\b",
            r"\bip( address)?\b.{0,20}\b(not (permitted|allowed|authori[sz]ed)|not white-?listed)\b",
            rf"\byou are {_NOT_LET} to (access|use|view|poll|read|perform)\b(?! (this|that|the) (lead|record|queue))",
            r"\b(subscription|trial|licen[cs]e|contract)\b.{0,20}\b(expired|ended|inactive|suspended|cancel+ed)\b",
            r"\b(you|user) (do|does) not have (the )?(required )?(permissions?|privileges?)\b",
            # An array's or a table's key is none of ours.
            r"(?<!array )(?<!foreign )(?<!primary )(?<!unique )(?<!sort )"  # noqa: ISC004 - one pattern in two lines
            r"\bkey:? (provided |supplied |given )?(is |was |has been |has )?"
            r"(not|invalid|incorrect|unknown|inactive|expired|revoked|disabled)\b",
            r"\b(please|must|need to) (log|sign) ?in\b|\bnot (logged in|authenticated)\b",
            r"\b(login|authentication) (is )?required\b",
            # Where a sentence is nothing but a refusal, there is no lead in it.
            r"(^|; )(http )?(40[13]:? ?)?((missing|no) key( (provided|supplied|given))?"  # noqa: ISC004 - likewise
            r"|(key|token) (is )?(required|missing)"
            rf"|(insufficient|missing|no|lacks?|inadequate) {_LEAVE}|{_LEAVE} (is |are )?(required|missing|needed)"
            r"|unauthori[sz]ed|unauthenticated|forbidden|(access|permission)? ?denied|not (permitted|allowed)"
            r"|not authori[sz]ed|(authentication|authori[sz]ation) (failed|failure|error))\W*(; |$)",
        ]
    ),
    re.IGNORECASE,
)
_SOMEBODY_ELSE = re.compile(
    r"\b(buyer|supplier|consumer|customer|applicant|recipient|bank|delivery|remote|third[ -]party)('?s)?\b",
    re.IGNORECASE,
)
_LOGIN_PAGE = re.compile(
    r"<(title|h[1-3]|legend)\b[^>]{0,200}>[^<]{0,200}\b(log|sign)[ -]?in\b"
    r"|<input\b[^>]{0,200}\btype\s?=\s?[\"']?password"
    r"|<form\b[^>]{0,200}\baction\s?=\s?[^\s>]{0,200}\b(log|sign)-?in\b",
    re.IGNORECASE,
)
# Limits are undocumented; should they be told in words, they are no fault of the key or the lead.
_TOO_FAST = re.compile(
    r"too[ _-]?many[ _-]?requests|rate[ _-]?limit|throttl(ed|ing)|too (fast|often)"
    r"|\b(requests?|calls?|api)( rate)? (limit|quota)( (has|have) been| was| is)? (exceeded|reached)"
    r"|^(the )?(rate )?(limit|quota) (exceeded|reached)\W*$|\bslow down\b",
    re.IGNORECASE,
)


def refuses_key(complaint: str) -> bool:
    """Whether an error's words refuse the key, its permission or the account."""
    return _speaks_of_us(_KEY_TROUBLE, complaint) or _speaks_of_us(_CLOSED_ACCOUNT, complaint)


def asks_to_wait(complaint: str) -> bool:
    """Whether an error's words say that we ask too often."""
    return _speaks_of_us(_TOO_FAST, complaint)


def asks_to_log_in(page: str) -> bool:
    """Whether a web page is a login itself, beyond having a link to one, or says that the account is closed."""
    beginning = page[:LONGEST_PAGE]
    return _LOGIN_PAGE.search(beginning) is not None or _speaks_of_us(_CLOSED_ACCOUNT, beginning)


def _speaks_of_us(trouble: re.Pattern[str], said: str) -> bool:
    return any(
        _SOMEBODY_ELSE.search(said, max(0, match.start() - _REACH), match.end() + _REACH) is None
        for match in trouble.finditer(said)
    )
