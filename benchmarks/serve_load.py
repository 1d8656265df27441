"""What callers of a service do, for locust: histories of ten random items, lists of ten.

``locust -f benchmarks/serve_load.py --host http://127.0.0.1:8000 --headless -u 20 -r 20 -t 60``
"""

import json
import os
import random
from urllib.request import urlopen

import gevent
from locust import FastHttpUser, events, task

_HISTORY = 10
# Requests of each user in a second; 0 for as many as are answered.
_RATE = float(os.environ.get("BIGREC_RATE", "1"))

items: list[str] = []


@events.test_start.add_listener
def read_items(environment, **_):
    """Ask for the items once."""
    address = f"{environment.parsed_options.host}/v1/items?limit=1000"
    with urlopen(address) as answer:  # noqa: S310 - the service that is measured
        items.extend(item["item_id"] for item in json.load(answer)["items"])


class Caller(FastHttpUser):
    """A caller that asks for lists."""

    def wait_time(self):
        """Callers come at random, not all at once."""
        return random.expovariate(_RATE) if _RATE else 0

    def on_start(self):
        """Begin at random, too: callers that start together would be a burst of their number."""
        gevent.sleep(self.wait_time())

    @task
    def recommend(self):
        """Ask for a list."""
        history = random.sample(items, _HISTORY)
        self.client.post("/v1/recommend", json={"history": history, "k": 10})
