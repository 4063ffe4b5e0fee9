"""Measures recorded LLM calls against what one would write at first, side by side: `python tests/bench/bench_llm_calls.py`.

Three things: calls in flight against one at a time, recording against a pickle that is read and rewritten as a whole
every ten calls (the way of FActScore, which the public code builds on), and whether 60 requests per minute are kept. The service runs in a process of its own.
Needs aiohttp, so fsenv's environment, and PYTHONPATH=volume/src.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pickle
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripted_service import ScriptedService

from volume.llm import CallFailed, CallStore, Client, Reply, Request
from volume.settings import LlmSettings

_WORD = "word "


def make_requests(count: int, size: int, first: int = 0) -> list[Request]:
    """Return distinct requests with prompts of about ``size`` bytes."""
    prompts = ((f"{number:08d} " + _WORD * (size // len(_WORD)))[:size] for number in range(first, first + count))
    return [Request("chat", "m", (("user", prompt),), "p1", 0, {"max_tokens": 64}) for prompt in prompts]


@contextlib.contextmanager
def service_beside(latency: float) -> Iterator[str]:
    """Run the scripted service in a process of its own; yield its base URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = Path(__file__).resolve().parents[1] / "scripted_service.py"
    process = subprocess.Popen([sys.executable, str(script), "--port", str(port), "--latency", str(latency)], stdout=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


def time_calls(url: str, in_flight: int, requests: list[Request]) -> float:
    """Return the seconds per call."""
    with tempfile.TemporaryDirectory() as folder, Client(Path(folder) / "calls.sqlite", LlmSettings(base_url=url, in_flight=in_flight)) as client:
        started = time.perf_counter()
        failed = [reply for reply in client.complete(requests) if isinstance(reply, CallFailed)]
        seconds = time.perf_counter() - started
    if failed:
        raise SystemExit(f"{len(failed)} calls failed, the first: {failed[0]}")
    return seconds / len(requests)


def compare_in_flight(latency: float, in_flight: int, count: int, one_by_one: int) -> None:
    """Print calls in flight against one at a time."""
    with service_beside(latency) as url:
        time_calls(url, 1, make_requests(1, 6000))  # imports
        single = time_calls(url, 1, make_requests(one_by_one, 6000, first=1))
        many = time_calls(url, in_flight, make_requests(count, 6000, first=1 + one_by_one))
    print(f"in flight    {latency} s latency, prompts of 6 KB: one at a time {1 / single:.2f} calls/s ({one_by_one} calls), "
          f"{in_flight} in flight {1 / many:.0f} calls/s ({count} calls): {single / many:.0f}x")


def compare_recording(count: int) -> None:
    """Print the cost of recording against a pickle that is read again and rewritten whole every ten calls."""
    requests, reply = make_requests(count, 8000), Reply("fact " * 100, 2000, 100)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        with CallStore(Path(folder) / "calls.sqlite") as store:
            for request in requests:
                store.put(request, reply, "bench", 0.001)
        recorded = time.perf_counter() - started
        cache: dict[str, str] = {}
        path = Path(folder) / "cache.pkl"
        started = time.perf_counter()
        for number, request in enumerate(requests, 1):
            cache[request.messages[0][1] + f"_{number}"] = reply.text  # the prompt is the key, as there
            if number % 10 == 0:
                if path.exists():  # another process may have written
                    cache.update(pickle.loads(path.read_bytes()))
                with path.open("wb") as file:
                    pickle.dump(cache, file)
        rewritten = time.perf_counter() - started
    print(f"recording    {count} calls of 8 KB: SQLite {1000 * recorded / count:.3f} ms each ({recorded:.1f} s), "
          f"a pickle read and rewritten every 10 calls {1000 * rewritten / count:.2f} ms each ({rewritten:.1f} s): {rewritten / recorded:.0f}x, "
          "and it loses up to 10 calls on a kill")


def check_cap(per_minute: float, count: int) -> None:
    """Print how far apart the calls arrive under a limit."""
    with ScriptedService() as service, tempfile.TemporaryDirectory() as folder:
        settings = LlmSettings(base_url=service.url, requests_per_minute=per_minute)
        with Client(Path(folder) / "calls.sqlite", settings) as client:
            client.complete(make_requests(count, 100))
        gaps = [later - earlier for earlier, later in zip(service.times, service.times[1:], strict=False)]
    print(f"cap          {per_minute:g} requests per minute, {count} calls: {min(gaps):.3f} to {max(gaps):.3f} s apart "
          f"(mean {statistics.mean(gaps):.3f}; {60 / per_minute:.3f} is the cap)")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few calls of each, to see that it runs")
    quick = parser.parse_args().quick
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    compare_in_flight(*(0.02, 8, 40, 4) if quick else (0.5, 256, 5120, 20))
    compare_recording(200 if quick else 10_000)
    check_cap(*(1200.0, 10) if quick else (60.0, 20))


if __name__ == "__main__":
    main()
