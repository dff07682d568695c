"""Reading queue IDs out of what people have: plain lines, CSV, JSON lines, or LeadByte's answer pasted as it is.

Streams: a file of any length is read line by line. What is no queue ID becomes a `Refusal` with its line, and the rest
goes on. Neighbour: `worker.intake`, which checks and records them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from io import TextIOWrapper
from itertools import chain
from typing import BinaryIO, NamedTuple, cast

from worker.domain.complaints import join_words
from worker.domain.values import JSON, fold_key
from worker.intake import Refusal, Submission

Item = Submission | Refusal

LONGEST_LINE = 128 * 1024  # characters, the longest field that `csv` takes; a longer line is no list of queue IDs
LONGEST_DOCUMENT = 64 * 1024 * 1024  # characters of a JSON document that is not one object a line
_DEEPEST = 16  # levels of lists and objects; LeadByte's answer has three

_ID_NAMES = ("queueid", "queueref", "id")
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
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        yield Refusal(line, _NO_JSON.reason)
        return
    yield from _read_value(value, line, _DEEPEST)


def _read_value(value: object, line: int | None, depth: int) -> Iterator[Item]:
    """An ID, an object with one, LeadByte's answer to a submission (documented: `results[].queueId`), or a list."""
    if isinstance(value, str):
        yield Submission(value, line=line)
    elif isinstance(value, list) and depth:
        for item in value:
            yield from _read_value(item, line, depth - 1)
    elif isinstance(value, dict) and depth:
        yield from _read_object({fold_key(key): inner for key, inner in value.items()}, line, depth)
    else:
        yield Refusal(line, "neither a queue ID nor an object with one")


def _read_object(fields: Mapping[str, object], line: int | None, depth: int) -> Iterator[Item]:
    inner = fields.get("records") or fields.get("results")
    if isinstance(inner, list) and inner:
        # What stands around several records can't be told to be about one of them.
        around = {key: value for key, value in fields.items() if value is not inner} if len(inner) == 1 else {}
        for item in _read_value(inner, line, depth - 1):
            yield _put_around(item, around)
        return
    queue_id = next((name for name in _ID_NAMES if isinstance(fields.get(name), str)), None)
    if queue_id is not None:
        yield Submission(str(fields[queue_id]), _read_reference(fields), line, answer={"records": [fields]})
    elif str(fields.get("status")).casefold() == "error":
        errors = join_words(cast("JSON", fields.get("errors")))
        reason = str(fields.get("message") or errors or "no reason given")[:200]
        yield Refusal(line, f"LeadByte refused the submission: {reason!a}")
    else:
        yield Refusal(line, "an object without queueId")


def _put_around(item: Item, around: Mapping[str, object]) -> Item:
    if isinstance(item, Refusal) or item.answer is None:
        return item
    return replace(item, answer={**around, **item.answer})


def _read_reference(fields: Mapping[str, object]) -> str | None:
    told = (fields.get(name) for name in _REFERENCE_NAMES)
    return next((str(value).strip() for value in told if isinstance(value, str | int) and value != ""), None)
