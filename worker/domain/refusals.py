"""Whether LeadByte's words refuse us, the key or the account, rather than speak of a lead: a wrong yes stops polling.

The shapes of refusals are undocumented, so a word for us must stand near a word that refuses: "no permission to contact
the consumer" is about a lead. Neighbour: `worker.domain.classify`, which asks.
"""

from __future__ import annotations

import re

LONGEST_PAGE = 20_000  # characters of a page that are looked at: its title, its heading, its form

_DENIED = r"(permissions?|unauthori[sz]ed|forbidden|denied|not (permitted|allowed|enabled|authori[sz]ed)|disabled)"
_BAD = r"(invalid|incorrect|wrong|unknown|missing|required|expired|revoked|inactive|suspended|not|no|lacks?|cannot)"
_CLOSED = r"(suspended|disabled|deactivated|locked)"


def _near(ours: str, refusing: str) -> str:
    return rf"\b{ours}\b.{{0,40}}\b{refusing}\b|\b{refusing}\b.{{0,40}}\b{ours}\b"


_CLOSED_ACCOUNT = re.compile(_near("account", _CLOSED), re.IGNORECASE)
_KEY_TROUBLE = re.compile(
    "|".join(
        [
            _near(r"(api[ _-]?key|x[_-]key|credentials?)", rf"({_DENIED}|{_BAD})"),
            # "API queue" is the permission a key needs to poll (documented).
            _near(r"api[ _-]?(queue|access|user)", _DENIED),
            r"\bpermissions? to (access|use|view|call|poll)\b",
            r"\b(invalid|incorrect|wrong|unknown) key\b",
            r"\bkey (is |was |has been )?(not|invalid|incorrect|unknown|inactive|expired|revoked|disabled)\b",
            r"\b(please|must|need to) (log|sign) ?in\b|\bnot (logged in|authenticated)\b",
            r"\b(login|authentication) (is )?required\b",
            # Where a sentence is nothing but a refusal, there is no lead in it.
            r"(^|; )(unauthori[sz]ed|forbidden|access denied|not authori[sz]ed|authentication failed)\W*(; |$)",
        ]
    ),
    re.IGNORECASE,
)
_LOGIN_PAGE = re.compile(
    r"<(title|h[1-3]|legend)\b[^>]{0,200}>[^<]{0,200}\b(log|sign)[ -]?in\b"
    r"|<input\b[^>]{0,200}\btype\s?=\s?[\"']?password"
    r"|<form\b[^>]{0,200}\baction\s?=\s?[^\s>]{0,200}\b(log|sign)-?in\b",
    re.IGNORECASE,
)


def refuses_key(complaint: str) -> bool:
    """Whether an error's words refuse the key, its permission or the account."""
    return _KEY_TROUBLE.search(complaint) is not None or _CLOSED_ACCOUNT.search(complaint) is not None


def asks_to_log_in(page: str) -> bool:
    """Whether a web page is a login itself, beyond having a link to one, or says that the account is closed."""
    beginning = page[:LONGEST_PAGE]
    return _LOGIN_PAGE.search(beginning) is not None or _CLOSED_ACCOUNT.search(beginning) is not None
