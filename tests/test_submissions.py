"""Queue IDs out of what people have: every format, every slip, with the line it is on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO, RawIOBase
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.progress import Progress

from worker.intake import Refusal, Submission
from worker.submissions import LONGEST_LINE, Item, read_submissions

A = "ac1e0206-6d6fd2fa-62ce91e7-ba33-5cc458e6"
B = "ac1e0206-12eaee18-63765b37-471b-f60cd31d"


def read(text: str | bytes) -> list[Item]:
    return list(read_submissions(BytesIO(text.encode() if isinstance(text, str) else text)))


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (f"{A}\n{B}\n", (1, 2)),
        (f"{A}\n{B}", (1, 2)),
        (f"{A}\r\n{B}\r\n", (1, 2)),
        (f"{A}\r{B}\r", (1, 2)),
        (f"\ufeff{A}\n{B}\n", (1, 2)),
        (f"\n  \n{A}\n\n\t{B} \n\n", (3, 5)),
        (f"# ours\n{A}\n # theirs\n{B}\n", (2, 4)),
    ],
)
def test_plain_lines_are_read_with_their_numbers(text: str, lines: tuple[int, int]) -> None:
    assert read(text) == [Submission(A, line=lines[0]), Submission(B, line=lines[1])]


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff", "# nothing\n", " \r\n\t"])
def test_nothing_is_nothing(text: str) -> None:
    assert read(text) == []


def test_a_line_that_is_no_queue_id_is_handed_on_with_its_number() -> None:
    assert read(f"{A}\nnonsense here\n{B}") == [
        Submission(A, line=1),
        Submission("nonsense here", line=2),
        Submission(B, line=3),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(
    "header", ["queueId", "queue_id", "Queue ID", "QUEUE-ID", "queueRef", "id", '"queueId"', " queueId "]
)
@pytest.mark.parametrize("reference", ["reference", "Ref"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_is_read_by_its_header(delimiter: str, header: str, reference: str, end: str) -> None:
    rows = [["name", header, reference], ["x", f'"{A}"', '"o ""1"""'], ["y", f" {B} ", ""]]
    text = "\ufeff" + "".join(delimiter.join(row) + end for row in rows)
    assert read(text) == [Submission(A, 'o "1"', 2), Submission(B, None, 3)]


def test_csv_of_the_ids_alone_is_read() -> None:
    assert read(f"# export\n\nqueueId\n{A}\n") == [Submission(A, line=4)]


def test_the_column_named_queue_id_wins_over_one_named_id() -> None:
    assert read(f"id,queueId\n17,{A}\n") == [Submission(A, line=2)]


def test_a_spoiled_row_is_refused_with_its_line_and_the_others_are_kept() -> None:
    text = f'ref;queueId\n1;{A}\n2\n\n# note\n"3;{B}\n"4"x;{B}\n5;{B};more\n'
    first, short, unclosed, trailing, last = read(text)
    assert (first, last) == (Submission(A, "1", 2), Submission(B, "5", 8))
    assert short == Refusal(3, "has 1 columns, and the queue ID would be in column 2")
    assert isinstance(unclosed, Refusal)
    assert isinstance(trailing, Refusal)
    assert (unclosed.line, trailing.line) == (6, 7)


def test_a_row_may_end_before_its_reference() -> None:
    assert read(f"queueId,reference\n{A}\n") == [Submission(A, None, 2)]


def test_json_lines_are_read_in_each_shape() -> None:
    rows: list[object] = [
        {"queueId": A},
        {"queue_ref": A, "ref": 17},
        A,
        {"id": A, "reference": ""},
        {"queueId": A, "reference": {"x": 1}},
    ]
    assert read("\n".join(json.dumps(row) for row in rows)) == [
        Submission(A, None, 1),
        Submission(A, "17", 2),
        Submission(A, None, 3),
        Submission(A, None, 4),
        Submission(A, None, 5),
    ]


def test_a_spoiled_json_line_is_refused_with_its_line_and_the_others_are_kept() -> None:
    rows = [
        f'{{"queueId": "{A}"}}',
        "",
        '{"queueId": ',
        "7",
        "{}",
        "null",
        '{"queueId": 12345678}',
        f'{{"queueId": "{B}"}}',
    ]
    text = "\r\n".join(rows)
    first, *refusals, last = read(text)
    assert (first, last) == (Submission(A, line=1), Submission(B, line=8))
    assert refusals == [
        Refusal(3, "no JSON"),
        Refusal(4, "neither a queue ID nor an object with one"),
        Refusal(5, "an object without queueId"),
        Refusal(6, "neither a queue ID nor an object with one"),
        Refusal(7, "an object without queueId"),
    ]


def test_json_lines_of_which_the_first_is_spoiled_are_json_lines_all_the_same() -> None:
    assert read(f'{{"queueId": oops}}\n{{"queueId": "{A}"}}\n') == [Refusal(1, "no JSON"), Submission(A, line=2)]


SUBMITTED = {"status": "Success", "code": 1, "message": "", "results": [{"queueId": A, "status": "Queued", "code": 1}]}
POLLED = {"status": "Success", "records": [{"queueId": A, "status": "Approved", "response": {"id": "not this one"}}]}


QUEUED = {"queueId": A, "status": "Queued", "code": 1}


@pytest.mark.parametrize(
    "answer",
    [
        SUBMITTED,
        POLLED,
        [A],
        [{"queueId": A}],
        [[SUBMITTED]],
        QUEUED,
        [QUEUED],
        {"record": QUEUED},
        {"records": QUEUED},
        {"results": QUEUED},
        {"result": [QUEUED]},
        {"RESULTS": [{"QUEUEID": A, "STATUS": "QUEUED"}]},
        {"results": [{"queue_ref": A}]},
        {"records": {A: {"status": "Queued"}}},
        {"results": {A: "Queued"}},
        {A: {"status": "Queued"}},
        {"data": {"records": [QUEUED]}},
        {"records": {"17": QUEUED}},
        {"records": [], "results": [QUEUED]},
        {"queueId": A, "response": {"code": 1, "leadId": 7}, "buyers": []},
        {"queueId": A, "status": "Success", "records": [{"status": "Queued"}]},
        {"id": A, "details": {"note": "ours"}, "list": []},
        {"results": [{"id": A}]},
        {"status": "Success", "records": json.dumps([QUEUED])},
    ],
    ids=repr,
)
@pytest.mark.parametrize(("indent", "line"), [(None, 1), (2, None)])
def test_leadbytes_answer_is_read_as_it_was_pasted(answer: object, indent: int | None, line: int | None) -> None:
    assert read(json.dumps(answer, indent=indent)) == [Submission(A, line=line)]


def test_an_answer_with_several_leads_gives_them_all() -> None:
    answer = {"results": [{"queueId": A}, {"status": "Error", "message": "Duplicate"}, {"queueRef": B}]}
    assert read(json.dumps(answer)) == [
        Submission(A, line=1),
        Refusal(1, "LeadByte refused the submission: 'Duplicate'"),
        Submission(B, line=1),
    ]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"status": "Error", "message": "Bad\nkey"}, "LeadByte refused the submission: 'Bad key'"),
        ({"status": "error", "errors": ["x", {"message": "y"}]}, "LeadByte refused the submission: 'x; y'"),
        ({"status": "error", "errors": []}, "LeadByte refused the submission: 'no reason given'"),
        ({"status": "Error", "message": "no", "results": []}, "LeadByte refused the submission: 'no'"),
        ({"status": "Success", "results": []}, "an object without queueId"),
        ({"success": False, "message": "Duplicate"}, "LeadByte refused the submission: 'Duplicate'"),
        ({"status": "Success", "records": {"queueId": 12345678}}, "an object without queueId"),
    ],
)
def test_an_answer_without_a_queue_id_is_refused_with_its_reason(answer: object, reason: str) -> None:
    assert read(json.dumps(answer)) == [Refusal(1, reason)]


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"results":[' * 100_000, "[" * 900 + "]" * 900, '{"records":[' * 300 + "]}" * 300]
)
def test_bottomless_nesting_is_refused(text: str) -> None:
    assert all(isinstance(item, Refusal) for item in read(text))
    assert read(f'{{"queueId": "{A}"}}\n{text[: LONGEST_LINE - 2]}')[0] == Submission(A, line=1)


@pytest.mark.parametrize("opening", [f"{A}\n", f"queueId,ref\n{A}\n", f'{{"queueId": "{A}"}}\n'])
@pytest.mark.parametrize("filling", ["x", "\U0001f600", '"', "[", " "])
def test_a_line_of_ten_megabytes_is_refused_once_and_the_others_are_kept(opening: str, filling: str) -> None:
    last = json.dumps(B) if opening.startswith("{") else B
    items = read(f"{opening}{filling * (10_000_000 // len(filling.encode()))}{A}\n{last}\n")
    lines = opening.count("\n")
    refusal = Refusal(lines + 1, f"longer than {LONGEST_LINE:,} characters, which no queue ID is")
    assert items == [Submission(A, line=lines), refusal, Submission(B, line=lines + 2)]


@pytest.mark.parametrize("filling", ["x", "[", "{", '"', " ", "#"])
def test_a_first_line_that_is_too_long_is_refused_as_well(filling: str) -> None:
    first, *others = read(f"{filling * (LONGEST_LINE + 1)}\n" + (json.dumps(A) if filling in "[{" else A))
    assert isinstance(first, Refusal)
    assert first.line == 1
    assert others == [Submission(A, line=2)]


def test_a_line_of_exactly_the_bound_is_no_longer_than_it() -> None:
    comment = "#" * (LONGEST_LINE - 1)
    assert read(f"{A}\n{comment}\n{B}") == [Submission(A, line=1), Submission(B, line=3)]


def test_an_answer_of_many_megabytes_on_one_line_is_read() -> None:
    answer = {"results": [{"queueId": A, "reference": "ü" * 50}] * 50_000}
    items = read(json.dumps(answer, ensure_ascii=False))
    assert items == [Submission(A, "ü" * 50)] * 50_000


def test_a_document_beyond_the_bound_is_read_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.submissions.LONGEST_DOCUMENT", 10)
    assert read(f'[\n"{A}",\n"{B}"\n]')[2] == Submission(B, line=3)


class Endless(RawIOBase):
    """A file without an end, which counts what was read of it."""

    def __init__(self) -> None:
        self.taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # a narrower buffer will do
        piece = (f"{A}\n".encode() * (len(buffer) // 41 + 1))[: len(buffer)]
        buffer[:] = piece
        self.taken += len(piece)
        return len(piece)


def test_a_file_is_streamed_and_its_stream_stays_its_owners() -> None:
    stream = Endless()
    items: Iterator[Item] = read_submissions(stream)  # type: ignore[arg-type]  # a raw stream reads as a binary one
    assert next(items) == Submission(A, line=1)
    assert stream.taken < 1_000_000
    del items
    assert not stream.closed


def test_a_stream_may_be_closed_before_its_end_was_reached() -> None:
    stream = BytesIO(f"{A}\n{B}\n".encode())
    items = read_submissions(stream)
    next(items)
    stream.close()
    del items


def test_a_file_is_read_while_its_progress_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "ids"
    path.write_text(f"{A}\r\n{B}\r\n", encoding="utf-8")
    with Progress(disable=True) as progress, progress.open(path, "rb") as stream:
        assert list(read_submissions(stream)) == [Submission(A, line=1), Submission(B, line=2)]


@given(st.binary() | st.text(st.characters(codec="utf-8")).map(str.encode) | st.text('{}[]":,;#\n\rid').map(str.encode))
def test_no_file_makes_the_reader_raise(body: bytes) -> None:
    for item in read(body):
        assert isinstance(item, Submission | Refusal)
