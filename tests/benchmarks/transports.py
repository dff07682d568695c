"""CPU time of one request with each transport, against a keep-alive server in another process, both in one run.

python -m tests.benchmarks.transports [--requests N] [--parallel N] [--lanes N] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from worker.domain.answers import Answer
from worker.leadbyte.curl_transport import CurlTransport
from worker.leadbyte.requests_transport import RequestsTransport
from worker.leadbyte.transport import Request, Transport

_TRANSPORTS: dict[str, Callable[[], Transport]] = {"requests": RequestsTransport, "curl": CurlTransport}
_RECORD = {"queueId": "ac1e0206-6d6fd2fa-62ce91e7-ba33-5cc458e6", "status": "Approved", "response": "x" * 1500}
_BODY = json.dumps({"status": "Success", "records": [_RECORD]}).encode()
_REPLY = (
    b"HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2029 00:00:00 GMT\r\nServer: nginx\r\nContent-Type: application/json\r\n"
    b"Cache-Control: no-cache\r\nVary: Accept\r\nX-Frame-Options: SAMEORIGIN\r\nConnection: keep-alive\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)


class _Answering(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(_REPLY * data.count(b"\r\n\r\n"))


def _serve(port_to: Connection) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(_Answering, "127.0.0.1", 0, backlog=512)
        port_to.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


@contextmanager
def _running_server() -> Iterator[str]:
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(sending,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{receiving.recv()}/restapi/v1.3"
    finally:
        process.kill()
        process.join()


def _ask_all(transport: Transport, base_url: str, requests: int, lanes: int, parallel: int) -> int:
    """The number of whole answers. Each lane has its share of the requests and of the parallel ones."""
    window = transport.open_window(timeout_seconds=30)
    answered = 0
    for lane in range(lanes):
        window.open_lane(lane, max(1, parallel // lanes))
        window.add(lane, [Request(n, f"{base_url}/apiqueue/{lane}-{n}?key=key") for n in range(requests // lanes)])
    while len(window):
        answered += sum(isinstance(asked, Answer) for _, _, asked in window.take(10))
    window.close()
    return answered


def _measure(
    make: Callable[[], Transport], base_url: str, requests: int, lanes: int, parallel: int
) -> dict[str, float]:
    transport = make()
    _ask_all(transport, base_url, 2 * parallel, lanes, parallel)  # connections and caches
    cpu, wall = time.process_time(), time.perf_counter()
    answered = _ask_all(transport, base_url, requests, lanes, parallel)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    transport.close()
    return {
        "answered": answered,
        "cpu_ms_per_request": round(cpu * 1000 / answered, 4),
        "requests_per_second": round(answered / wall),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--parallel", type=int, default=32)
    parser.add_argument("--lanes", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with _running_server() as base_url:
        found = {
            name: _measure(make, base_url, asked.requests, asked.lanes, asked.parallel)
            for name, make in _TRANSPORTS.items()
        }
    ratio = round(found["requests"]["cpu_ms_per_request"] / found["curl"]["cpu_ms_per_request"], 1)
    if asked.json:
        print(json.dumps({**found, "ratio": ratio}))  # noqa: T201 - this is what it is for
        return
    for name, of in found.items():
        print(f"{name:10} {of['cpu_ms_per_request']:.3f} CPU-ms a request, {of['requests_per_second']:.0f} a second")  # noqa: T201
    print(f"ratio      {ratio}")  # noqa: T201


if __name__ == "__main__":
    main()
