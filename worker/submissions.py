"""Reading queue IDs out of what people have: plain lines, CSV, JSON lines, or LeadByte's answer pasted as it is.

Streams: a file of any length is read line by line. What is no queue ID becomes a `Refusal` with its line, and the rest
goes on. Neighbour: `worker.intake`, which checks and records them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import TextIOWrapper
from itertools import chain
from typing import BinaryIO, NamedTuple

from worker.domain.complaints import NO_WORDS, hear_complaint
from worker.domain.records import QUEUE_ID_NAMES, Found, find_records
from worker.domain.values import JSON, Block, fold_key, fold_keys
from worker.intake import Refusal, Submission
from worker.leadbyte.wire import decode_text

Item = Submission | Refusal

LONGEST_LINE = 128 * 1024  # characters, the longest field that `csv` takes; a longer line is no list of queue IDs
LONGEST_DOCUMENT = 64 * 1024 * 1024  # characters of a JSON document that is not one object a line
_DEEPEST = 16  # levels of lists and objects; LeadByte's answer has three

_ID_NAMES = ("queueid", "queueref", "id")
_LONGEST_REASON = 200  # characters of LeadByte's own words that are repeated
_REFERENCE_NAMES = ("reference", "ref")


class _Line(NamedTuple):
    """A line, or a piece of one that is too long: `piece` counts those from 1, and is 0 for a whole line."""

    number: int
    text: str
    piece: int

    @property
    def is_blank(self) -> bool:
        return not self.piece and (not self.text.strip() or self.text.lstrip().startswith("#"))


def read_submissions(stream: BinaryIO, id_names: Sequence[str] = _ID_NAMES) -> Iterator[Item]:
    """All queue IDs of the stream, in whichever of the four formats its first line is; `#` begins a comment.

    `id_names`: what the column of a CSV may be called, folded; the first that is there counts.
    """
    lines = _read_lines(stream)
    first = next((line for line in lines if not line.is_blank), None)
    return iter(()) if first is None else _read_format(first, chain([first], lines), id_names)


def _read_lines(stream: BinaryIO) -> Iterator[_Line]:
    text = TextIOWrapper(stream, encoding="utf-8-sig", errors="replace")
    number, piece = 1, 0
    try:
        while line := text.readline(LONGEST_LINE):
            is_end = line.endswith("\n") or len(line) < LONGEST_LINE
            piece = 0 if is_end and not piece else piece + 1
            yield _Line(number, line, piece)
            if is_end:
                number, piece = number + 1, 0
    finally:
        if not stream.closed:
            text.detach()  # closing the stream is its owner's business


def _read_format(first: _Line, lines: Iterator[_Line], id_names: Sequence[str]) -> Iterator[Item]:
    if first.text.lstrip()[:1] in {"{", "["}:
        return _read_json(first, lines)
    delimiter = max(",;\t", key=first.text.count)
    names = _split_row(first.text, delimiter) or []
    id_column, reference_column = _find_column(names, id_names), _find_column(names, _REFERENCE_NAMES)
    if id_column is None:
        return _read_by_line(lines, lambda line: [Submission(line.text.strip(), line=line.number)])
    next(lines)  # the header
    return _read_by_line(lines, lambda line: [_read_row(line, delimiter, id_column, reference_column)])


def _read_by_line(lines: Iterable[_Line], read_line: Callable[[_Line], Iterable[Item]]) -> Iterator[Item]:
    for line in lines:
        if line.piece == 1:
            yield Refusal(line.number, f"longer than {LONGEST_LINE:,} characters, which no queue ID is")
        elif not line.piece and not line.is_blank:
            yield from read_line(line)


def _find_column(names: list[str], wanted: Sequence[str]) -> int | None:
    plain = [fold_key(name) for name in names]
    return next((plain.index(name) for name in wanted if name in plain), None)


def _split_row(text: str, delimiter: str) -> list[str] | None:
    # Line by line, so that one quote that was never closed spoils its own line and no other.
    try:
        return next(csv.reader([text.rstrip("\n")], delimiter=delimiter, strict=True))
    except csv.Error:
        return None


def _read_row(line: _Line, delimiter: str, id_column: int, reference_column: int | None) -> Item:
    row = _split_row(line.text, delimiter)
    if row is None:
        return Refusal(line.number, "no CSV: a quote is not closed, or something follows the closing one")
    if id_column >= len(row):
        return Refusal(line.number, f"has {len(row)} columns, and the queue ID would be in column {id_column + 1}")
    reference = "" if reference_column is None or reference_column >= len(row) else row[reference_column].strip()
    return Submission(row[id_column].strip(), reference or None, line.number)


def _read_json(first: _Line, lines: Iterator[_Line]) -> Iterator[Item]:
    try:
        json.loads(first.text)
    except (ValueError, RecursionError):
        return _read_document(lines)
    return _read_json_lines(lines)


def _read_json_lines(lines: Iterable[_Line]) -> Iterator[Item]:
    return _read_by_line(lines, lambda line: _parse_json(line.text, line.number))


def _read_document(lines: Iterator[_Line]) -> Iterator[Item]:
    """One document over many lines; or JSON lines after all, of which only the first is spoiled."""
    head, size = [], 0
    for line in lines:
        head.append(line)
        size += len(line.text)
        if size > LONGEST_DOCUMENT:
            break
    else:
        items = list(_parse_json("".join(line.text for line in head), None))
        if items != [_NO_JSON]:
            yield from items
            return
    yield from _read_json_lines(chain(head, lines))


_NO_JSON = Refusal(None, "no JSON")


def _parse_json(text: str, line: int | None) -> Iterator[Item]:
    decoded = decode_text(text)
    if decoded.is_json:
        yield from _read_value(decoded.document, line, _DEEPEST)
    else:
        yield Refusal(line, _NO_JSON.reason)


def _read_value(value: JSON, line: int | None, depth: int) -> Iterator[Item]:
    """An ID, an object with one, a list of them, or LeadByte's answer in any shape that polling reads."""
    if isinstance(value, str):
        yield Submission(value, line=line)
    elif isinstance(value, list) and depth:
        for item in value:
            yield from _read_value(item, line, depth - 1)
    elif isinstance(value, dict):
        yield from _read_object(value, line)
    else:
        yield Refusal(line, "neither a queue ID nor an object with one")


def _read_object(value: dict[str, JSON], line: int | None) -> Iterator[Item]:
    found = _find_records(value)
    # What stands around several records can't be told to be about one of them.
    for item in found:
        yield _read_record(item, item.around if len(found) == 1 else {}, line)


def _find_records(value: dict[str, JSON]) -> list[Found]:
    root = Found(fold_keys(value), {}, None)
    if _name_lead(root) and not any(isinstance(inner, list | dict) for inner in value.values()):
        return [root]  # as the lines of a long file are
    # In a list, since a root that is a map by queue ID is looked for by the one ID that was asked about.
    for found in (find_records(value, ""), find_records([value], "")):
        if any(_name_lead(item) for item in found):
            return found
    return [root] if _name_lead(root) or not found else found


def _read_record(found: Found, around: Block, line: int | None) -> Item:
    queue_id, record = _name_lead(found), found.record
    if queue_id is None:
        return _refuse(record, line)
    answer = {**around, "records": [{**record, "queueid": record.get("queueid") or queue_id}]}
    return Submission(queue_id, _read_reference(record), line, answer=answer)


def _name_lead(found: Found) -> str | None:
    """The queue ID that a record carries, or that it stands under in a map; a number is none."""
    is_number = any(isinstance(found.record.get(name), int | float) for name in QUEUE_ID_NAMES)
    return None if is_number else found.queue_id or _read_id(found.record)


def _read_id(record: Block) -> str | None:
    return next((own for name in _ID_NAMES if isinstance(own := record.get(name), str)), None)


def _refuse(block: Block, line: int | None) -> Refusal:
    complaint = hear_complaint(dict(block), "", has_records=False)
    if complaint is None or not complaint.is_error:
        return Refusal(line, "an object without queueId")
    words = "no reason given" if complaint.words == NO_WORDS else complaint.words
    return Refusal(line, f"LeadByte refused the submission: {words[:_LONGEST_REASON]!a}")


def _read_reference(fields: Block) -> str | None:
    told = (fields.get(name) for name in _REFERENCE_NAMES)
    return next((str(value).strip() for value in told if isinstance(value, str | int) and value != ""), None)
