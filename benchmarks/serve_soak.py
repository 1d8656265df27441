"""A service under a steady load for minutes, with changes of items and interactions in between.

``python -m benchmarks.serve_soak --bundle runs/demo/bundle --seconds 600`` asks for lists,
hides or shows an item every second, adds an interaction every five, and samples the memory.
"""

import argparse
import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.serve import LOCUST, load, resident_mib, service
from bigrec.storage import write_json

_SAMPLE_S = 30
_INTERACTION_EVERY = 5


def soak(bundle: Path, *, seconds: int, rate: int, locust: list[str]) -> dict[str, Any]:
    """Latency, failures and memory of a service under a steady load.

    Args:
        bundle: The bundle.
        seconds: Time of the load.
        rate: Lists asked for in a second.
        locust: The command that starts locust.
    """
    with service(bundle, []) as (process, address):
        mib = [(0, resident_mib(process))]
        ended = threading.Event()
        changes: dict[str, int] = {"changes": 0, "refused": 0}
        changing = threading.Thread(target=_change, args=(address, ended, changes))
        sampling = threading.Thread(target=lambda: mib.extend(_sample(process, ended)))
        changing.start()
        sampling.start()
        figures = load(address, callers=rate, rate=1, seconds=seconds, locust=locust)
        ended.set()
        changing.join()
        sampling.join()
        mib.append((seconds, resident_mib(process)))
        return {"load": figures, "changes": changes, "MiB by second": mib}


def _sample(process: Any, ended: threading.Event) -> Iterator[tuple[int, int]]:
    started = time.monotonic()
    while not ended.wait(_SAMPLE_S):
        yield round(time.monotonic() - started), resident_mib(process)


def _change(address: str, ended: threading.Event, counts: dict[str, int]) -> None:
    with httpx2.Client(base_url=address, timeout=30) as client:
        items = [item["item_id"] for item in client.get("/v1/items").json()["items"]]
        number = 0
        while not ended.wait(1):
            item = items[number // 2 % len(items)]
            answers = [client.patch(f"/v1/items/{item}", json={"hidden": number % 2 == 0})]
            if number % _INTERACTION_EVERY == 0:
                row = {"user_id": f"u{number % 100}", "item_id": item}
                answers.append(client.post("/v1/interactions", json={"interactions": [row]}))
            for answer in answers:
                counts["changes" if answer.is_success else "refused"] += 1
            number += 1


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--rate", type=int, default=20)
    parser.add_argument("--locust", default=LOCUST)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    figures = soak(
        given.bundle, seconds=given.seconds, rate=given.rate, locust=given.locust.split()
    )
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    if given.json is not None:
        write_json(given.json, figures)


if __name__ == "__main__":
    main()
