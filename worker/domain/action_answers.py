"""What LeadByte's answer to an action means, item by item; pure.

A wrong "queued" drops an action silently, a wrong "refused" has it done twice. So only documented words count as done
or queued, only words of denial as refused; whatever else comes, or does not, is unclear, and unclear is looked up. An
error that speaks of LeadByte's own trouble, or of nothing, is as well: it may have come after the work.
Sources: LeadByte's articles on quarantine; the shapes of errors are undocumented. Neighbour: `worker.domain.actions`
says what becomes of the action.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from worker.domain.refusals import refuses_key
from worker.domain.values import JSON, Block, fold_keys, read_text, read_word

Way = Literal["process", "reject"]  # LeadByte's words for release and rejection


class Outcome(StrEnum):
    """What an answer says about one action."""

    DONE = "done"  # an update, carried out
    QUEUED = "queued"  # a release or rejection, taken up
    REFUSED = "refused"  # not taken, in LeadByte's words
    FORBIDDEN = "forbidden"  # the key lacks the permission, or is none
    THROTTLED = "throttled"  # not taken: we are to wait
    UNCLEAR = "unclear"  # it may have happened


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome for one action, and LeadByte's words or ours, on one line."""

    outcome: Outcome
    words: str


_QUEUED: Mapping[Way, str] = {"process": "processing", "reject": "rejection"}
_DENIAL = re.compile(
    r"\bnot\b|n't\b|\bcannot\b|\bno (such|longer)\b|\binvalid\b|\bunknown\b|\bunable\b|\bdenied\b|\brefused\b"
    r"|\bfail(ed|ure)?\b|\berrors?\b|\bmissing\b|\brequired\b|\bmust\b",
    re.IGNORECASE,
)
_PERMISSION = re.compile(r"\bpermissions?\b|\bunauthori[sz]ed\b|\bforbidden\b", re.IGNORECASE)
_TOO_FAST = re.compile(r"too many requests|rate[ -]?limit|throttl|too (fast|often)", re.IGNORECASE)
# Narrow enough to leave "temporary addresses are not allowed" and "correct the postcode and try again" refusals.
_TROUBLE = re.compile(
    r"\b(internal|unexpected|unknown|system|server|database|temporary) (server |system )?(error|failure|problem)"
    r"|\berror (has |have )?occurred|\bsomething went wrong|exception\b|\bdeadlock|\bmaintenance\b|\boverload"
    r"|\b(system|server|service|too|currently) busy\b|\btime[ -]?out\b|\btimed out\b|\btemporarily\b"
    r"|\b(service|server|system|api|database|currently) (is |was )?(currently )?unavailable\b"
    r"|\b(try|retry) (again )?(later|shortly|soon|in (a|\d))",
    re.IGNORECASE,
)
_ERROR_WORDS = frozenset({"error", "failed", "fail", "failure"})
# LeadByte's own spelling in its article, and the right one.
_RELEASE_RESULTS = ("quaratinereleaseresults", "quarantinereleaseresults")
_TRUE, _FALSE = frozenset({"true", "1", "yes", "success"}), frozenset({"false", "0", "no", "error", "failed"})


def read_put_answer(
    items: Mapping[str, Way | None], http_status: int, document: JSON, text: str = ""
) -> dict[str, Verdict]:
    """What `PUT /leads` says about each quarantine ID; `items` tells the action asked for beside its update, if any."""
    root = fold_keys(document)
    told = _list_items(root.get("leads"))
    sentences = [words for name in _RELEASE_RESULTS for words in _list_sentences(root.get(name))]
    whole = _read_whole(http_status, root, text, has_details=any(held in told for held in items))
    if whole is not None:
        return dict.fromkeys(items, whole)
    is_error = _denies(http_status, root)
    return {
        held: _read_item(told.get(held, ()), way, [words for words in sentences if _names(words, held)], is_error)
        for held, way in items.items()
    }


def read_post_answer(held: str, way: Way, http_status: int, document: JSON, text: str = "") -> Verdict:
    """What `POST /quarantine/process` says about the one quarantine ID it was about."""
    root = fold_keys(document)
    sentences = _list_details(root.get("details"), held)
    whole = _read_whole(http_status, root, text, has_details=bool(sentences))
    return whole or _read_sentences(sentences, way, is_error=_denies(http_status, root))


def _read_whole(http_status: int, root: Block, text: str, *, has_details: bool) -> Verdict | None:
    """What the answer says about all its items alike; None: each has words of its own."""
    is_error = _denies(http_status, root)
    complaint = _read_complaint(root) if is_error else None
    words = complaint or f"HTTP {http_status}"
    if http_status in {401, 403}:
        return Verdict(Outcome.FORBIDDEN, words)
    if http_status == 429:  # noqa: PLR2004 - too many requests
        return Verdict(Outcome.THROTTLED, words)
    if http_status >= 500 or 300 <= http_status < 400:  # noqa: PLR2004 - it broke on the way, or went elsewhere
        return Verdict(Outcome.UNCLEAR, f"HTTP {http_status}")
    if complaint is not None and not has_details:
        return Verdict(_judge_denial(complaint), complaint)
    if is_error and root and not has_details:
        return Verdict(Outcome.UNCLEAR, f"HTTP {http_status}, an error without a message")
    if not 200 <= http_status < 300:  # noqa: PLR2004 - a 4xx that does not say what is wrong
        return None if has_details else Verdict(Outcome.UNCLEAR, words)
    if not root:
        return Verdict(
            Outcome.UNCLEAR, "a web page for an answer" if text.lstrip().startswith("<") else "no usable answer"
        )
    return None


def _read_item(said: Sequence[Block], way: Way | None, sentences: Sequence[str], is_error: bool) -> Verdict:
    flags = {_read_flag(item.get("success")) for item in said}
    words = "; ".join(dict.fromkeys(filter(None, (read_text(item.get("message")) for item in said))))
    if flags == {False}:
        if any(_is_queued(sentence, way) for sentence in sentences):
            return Verdict(Outcome.UNCLEAR, f"contradicts itself: {'; '.join([words, *sentences])}")
        return Verdict(_judge_denial(words), words or "refused without a word")
    if flags != {True} or is_error:
        return Verdict(Outcome.UNCLEAR, "the answer does not say what became of this lead")
    if way is None:
        return Verdict(Outcome.DONE, words)
    release = _read_sentences(sentences, way, is_error=False)
    if release.outcome in {Outcome.REFUSED, Outcome.FORBIDDEN, Outcome.THROTTLED}:
        # Half of it is done, and must not be sent again.
        return Verdict(Outcome.REFUSED, f"its fields were updated, but: {release.words}")
    return release


def _read_sentences(sentences: Sequence[str], way: Way, *, is_error: bool) -> Verdict:
    words = "; ".join(sentences)
    if not sentences:
        return Verdict(Outcome.UNCLEAR, "the answer does not say what became of this lead")
    if all(_is_queued(sentence, way) for sentence in sentences) and not is_error:
        return Verdict(Outcome.QUEUED, words)
    if any(_is_queued(sentence, any_way) for sentence in sentences for any_way in _QUEUED):
        return Verdict(Outcome.UNCLEAR, f"contradicts itself: {words}")
    if all(_DENIAL.search(sentence) for sentence in sentences) or is_error:
        return Verdict(_judge_denial(words), words)
    return Verdict(Outcome.UNCLEAR, f"unknown words: {words}")


def _judge_denial(words: str) -> Outcome:
    """What an error means by its words: ask more gently, mend the key, look it up, or leave it."""
    if _TOO_FAST.search(words):
        return Outcome.THROTTLED
    if refuses_key(words) or _PERMISSION.search(words):
        return Outcome.FORBIDDEN
    return Outcome.UNCLEAR if _TROUBLE.search(words) else Outcome.REFUSED


def _is_queued(sentence: str, way: Way | None) -> bool:
    """Whether the sentence ends in the documented words, and denies nothing before them."""
    documented = rf"(.*\W)?queued for {_QUEUED[way]}\W*" if way is not None else r"(.*\W)?queued for \w+\W*"
    return re.fullmatch(documented, sentence, re.IGNORECASE) is not None and not _DENIAL.search(sentence)


def _denies(http_status: int, root: Block) -> bool:
    return read_word(root.get("status")) in _ERROR_WORDS or 400 <= http_status < 500  # noqa: PLR2004 - by its code


def _read_complaint(root: Block) -> str | None:
    errors = root.get("errors")
    listed = errors if isinstance(errors, list) else [errors]
    said = [root.get("message"), *(_say_error(item) for item in listed[:5])]
    words = "; ".join(dict.fromkeys(word for word in map(read_text, said) if word))
    return words or None


def _say_error(item: JSON) -> JSON:
    inner = fold_keys(item)
    return inner.get("message") or inner.get("error") if inner else item


def _list_items(leads: JSON) -> dict[str, list[Block]]:
    """The items of `leads` by quarantine ID, which may be a string or a number."""
    found: dict[str, list[Block]] = {}
    for item in [leads] if isinstance(leads, dict) else leads if isinstance(leads, list) else []:
        inner = fold_keys(item)
        held = read_text(inner.get("quarantineid"))
        if held is not None:
            found.setdefault(held, []).append(inner)
    return found


def _list_details(details: JSON, held: str) -> list[str]:
    if isinstance(details, dict):
        words = read_text(details.get(held))
        return [] if words is None else [words]
    return [words for words in _list_sentences(details) if _names(words, held)]


def _list_sentences(value: JSON) -> list[str]:
    values = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else [value]
    return [words for words in map(read_text, values) if words is not None]


def _names(sentence: str, held: str) -> bool:
    return re.search(rf"(?<!\d){re.escape(held)}(?!\d)", sentence) is not None


def _read_flag(value: JSON) -> bool | None:
    word = str(value).casefold() if isinstance(value, bool | int) else read_word(value)
    return True if word in _TRUE else False if word in _FALSE else None
