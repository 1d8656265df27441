"""A service under load: latency, throughput and memory, with batching and without.

``python -m benchmarks.serve --bundle runs/demo/bundle --seconds 60``; locust has to be installed
(``pip install locust``), here or in an environment whose command ``LOCUST`` or ``--locust`` names.
"""

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from bigrec.recommender.bigrec import BIGRec
from bigrec.settings import Settings
from bigrec.storage import write_json

HERE = Path(__file__).parent
RATE, CALLERS = 20, 32
HISTORY = 10
LOCUST = os.environ.get("LOCUST", f"{sys.executable} -m locust")
SERVICES: Mapping[str, list[str]] = {"batched": [], "one by one": ["--max-batch", "1"]}


def bench_serve_stage() -> dict[str, Any]:
    """Figures of text mode on MovieLens-100K, signals included."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        settings = Settings.read(overrides=["mode=text", "data.source=ml-100k"])
        BIGRec(settings).fit("ml-100k").save(bundle)
        return measure(bundle, seconds=20, locust=LOCUST.split())


def measure(bundle: Path, *, seconds: int, locust: list[str]) -> dict[str, Any]:
    """Figures of a service of a bundle.

    Args:
        bundle: The bundle.
        seconds: Time of each load.
        locust: The command that starts locust.
    """
    figures: dict[str, Any] = {"plain loop": plain_loop(bundle, seconds=min(seconds, 10))}
    for name, options in SERVICES.items():
        with service(bundle, options) as (process, address):
            before = resident_mib(process)
            figures[f"{name}, {RATE}/s"] = load(
                address, callers=RATE, rate=1, seconds=seconds, locust=locust
            )
            figures[f"{name}, {CALLERS} callers"] = load(
                address, callers=CALLERS, rate=0, seconds=seconds, locust=locust
            )
            figures[f"{name}, MiB"] = {"before": before, "after": resident_mib(process)}
    return figures


def plain_loop(bundle: Path, *, seconds: int) -> dict[str, float]:
    """One history after another, in this process."""
    recommender = BIGRec.load(bundle, device="cpu")
    ids = recommender.catalog.item_ids
    draw = random.Random(0)  # noqa: S311 - no secret
    recommender.recommend(ids[:HISTORY])
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        history = draw.sample(ids, HISTORY)
        started = time.perf_counter()
        recommender.recommend(history)
        times.append(time.perf_counter() - started)
    return {
        "per_s": len(times) / sum(times),
        "p50_ms": 1000 * float(np.median(times)),
        "p99_ms": 1000 * float(np.quantile(times, 0.99)),
    }


@contextmanager
def service(bundle: Path, options: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A service process and its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "bigrec", "serve", "--bundle", str(bundle)]
    with tempfile.TemporaryDirectory() as folder:
        journal = str(Path(folder) / "journal.jsonl")
        command += ["--port", str(port), "--journal", journal, *options]
        with subprocess.Popen(  # noqa: S603 - this project's command
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            address = f"http://127.0.0.1:{port}"
            try:
                _wait_until_ready(process, address)
                yield process, address
            finally:
                process.terminate()


def _wait_until_ready(process: subprocess.Popen[bytes], address: str) -> None:
    while process.poll() is None:
        try:
            if httpx2.get(f"{address}/health/ready").status_code == httpx2.codes.OK:
                return
        except httpx2.TransportError:
            time.sleep(0.1)
    raise RuntimeError(f"the service ended with {process.returncode}.")


def load(
    address: str, *, callers: int, rate: float, seconds: int, locust: list[str]
) -> dict[str, float]:
    """Latency and throughput under a load.

    Args:
        address: Of the service.
        callers: Number of callers.
        rate: Requests of each in a second; 0 for as many as are answered.
        seconds: Time of the load.
        locust: The command that starts locust.
    """
    command = [*locust, "-f", str(HERE / "serve_load.py"), "--host", address, "--headless"]
    command += ["-u", str(callers), "-r", str(callers), "-t", f"{seconds}s", "--json"]
    environment = {**os.environ, "BIGREC_RATE": str(rate), "PYTHONPATH": ""}
    done = subprocess.run(  # noqa: S603 - as the caller says
        command, env=environment, capture_output=True, check=False, text=True
    )
    if not done.stdout.strip():
        raise RuntimeError(f"locust failed: {done.stderr[-1000:]}")
    (entry,) = json.loads(done.stdout)
    milliseconds, counts = zip(
        *sorted((float(time_ms), count) for time_ms, count in entry["response_times"].items()),
        strict=True,
    )
    cumulated = np.cumsum(counts) / sum(counts)
    return {
        "per_s": entry["num_requests"] / (entry["last_request_timestamp"] - entry["start_time"]),
        "p50_ms": milliseconds[int(np.searchsorted(cumulated, 0.5))],
        "p99_ms": milliseconds[int(np.searchsorted(cumulated, 0.99))],
        "failures": entry["num_failures"],
    }


def resident_mib(process: subprocess.Popen[bytes]) -> int:
    """Memory of a process."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) // 1024


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--locust", default=LOCUST)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    figures = measure(given.bundle, seconds=given.seconds, locust=given.locust.split())
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    if given.json is not None:
        write_json(given.json, figures)


if __name__ == "__main__":
    main()
