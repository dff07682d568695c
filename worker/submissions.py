"""Reading queue IDs out of what people have: plain lines, CSV, JSON lines, or LeadByte's answer pasted as it is.

Streams: a file of any length is read line by line. What is no queue ID becomes a `Refusal` with its line, and the rest
goes on. Neighbour: `worker.intake`, which checks and records them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import BinaryIO

from worker.intake import Refusal, Submission

Item = Submission | Refusal

LONGEST_LINE = 1024 * 1024  # bytes; a longer line is no list of queue IDs
LONGEST_DOCUMENT = 64 * 1024 * 1024  # bytes of a JSON document that is not one object a line

_ID_NAMES = ("queueid", "queueref", "id")
_REFERENCE_NAMES = ("reference", "ref")


def read_submissions(stream: BinaryIO) -> Iterator[Item]:
    """All queue IDs of the stream, in whichever of the four formats its first line is."""
    lines = _read_lines(stream)
    blank: list[tuple[int, str]] = []
    for line in lines:
        if line[1].strip():
            return _read_format(line[1], chain(blank, [line], lines))
        blank.append(line)
    return iter(())


def _read_lines(stream: BinaryIO) -> Iterator[tuple[int, str]]:
    number = 0
    while raw := stream.readline(LONGEST_LINE):
        number += 1
        yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8", errors="replace")


def _read_format(first: str, lines: Iterator[tuple[int, str]]) -> Iterator[Item]:
    start = first.lstrip()[:1]
    if start in {"{", "["}:
        return _read_json(first, lines)
    if _find_column(_split_header(first), _ID_NAMES) is not None:
        return _read_csv(first, lines)
    return _read_text(lines)


def _read_text(lines: Iterable[tuple[int, str]]) -> Iterator[Item]:
    for number, line in lines:
        text = line.strip(" \t\r\n")
        if text and not text.startswith("#"):
            yield Submission(text, line=number)


def _split_header(line: str) -> list[str]:
    return next(csv.reader([line.strip("\r\n")], delimiter=_find_delimiter(line)), [])


def _find_delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def _find_column(names: list[str], wanted: tuple[str, ...]) -> int | None:
    plain = [name.strip().replace("_", "").replace(" ", "").replace("-", "").casefold() for name in names]
    return next((plain.index(name) for name in wanted if name in plain), None)


def _read_csv(header: str, lines: Iterator[tuple[int, str]]) -> Iterator[Item]:
    names = _split_header(header)
    id_column, reference_column = _find_column(names, _ID_NAMES), _find_column(names, _REFERENCE_NAMES)
    assert id_column is not None  # it is how the format was recognised
    header_seen = False
    for number, line in lines:
        if not line.strip():
            continue
        if not header_seen:
            header_seen = True
            continue
        yield _read_row(number, line, _find_delimiter(header), id_column, reference_column)


def _read_row(number: int, line: str, delimiter: str, id_column: int, reference_column: int | None) -> Item:
    try:
        row = next(csv.reader([line.strip("\r\n")], delimiter=delimiter), [])
    except csv.Error as error:
        return Refusal(number, f"no CSV: {error}")
    if id_column >= len(row):
        return Refusal(number, f"has {len(row)} columns, and the queue ID would be in column {id_column + 1}")
    has_reference = reference_column is not None and reference_column < len(row)
    reference = row[reference_column].strip() if has_reference and reference_column is not None else ""
    return Submission(row[id_column].strip(), reference or None, number)


def _read_json(first: str, lines: Iterator[tuple[int, str]]) -> Iterator[Item]:
    try:
        json.loads(first)
    except ValueError:
        return _read_document(lines)
    return _read_json_lines(lines)


def _read_json_lines(lines: Iterable[tuple[int, str]]) -> Iterator[Item]:
    for number, line in lines:
        if line.strip():
            yield from _parse_json(line, number)


def _read_document(lines: Iterable[tuple[int, str]]) -> Iterator[Item]:
    parts, size = [], 0
    for _, line in lines:
        parts.append(line)
        size += len(line)
        if size > LONGEST_DOCUMENT:
            yield Refusal(None, "one JSON document of more than 64 MB: give one object a line instead")
            return
    yield from _parse_json("".join(parts), None)


def _parse_json(text: str, line: int | None) -> Iterator[Item]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        yield Refusal(line, "no JSON")
        return
    yield from _read_value(value, line)


def _read_value(value: object, line: int | None) -> Iterator[Item]:
    """An ID, an object with one, LeadByte's answer to a submission (documented: `results[].queueId`), or a list."""
    if isinstance(value, str):
        yield Submission(value, line=line)
    elif isinstance(value, list):
        for item in value:
            yield from _read_value(item, line)
    elif isinstance(value, dict):
        yield from _read_object(value, line)
    else:
        yield Refusal(line, "neither a queue ID nor an object with one")


def _read_object(value: Mapping[str, object], line: int | None) -> Iterator[Item]:
    fields = {key.replace("_", "").replace(" ", "").casefold(): inner for key, inner in value.items()}
    inner = fields.get("records") or fields.get("results")
    if isinstance(inner, list):
        yield from _read_value(inner, line)
        return
    queue_id = next((fields[name] for name in _ID_NAMES if isinstance(fields.get(name), str)), None)
    if isinstance(queue_id, str):
        reference = next((str(fields[name]) for name in _REFERENCE_NAMES if fields.get(name) is not None), None)
        yield Submission(queue_id, reference, line)
    elif str(fields.get("status")).casefold() == "error":
        yield Refusal(
            line, f"LeadByte refused the submission: {str(fields.get('message') or 'no reason given')[:200]!a}"
        )
    else:
        yield Refusal(line, "an object without queueId")
