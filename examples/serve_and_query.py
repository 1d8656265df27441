"""Serve a bundle and ask it over HTTP: a list, a new film, an interaction.

``python examples/serve_and_query.py`` takes ten seconds and needs ``pip install 'bigrec[serve]'``.
It asks the application in this process. For a service on a port, run
``bigrec serve --bundle runs/serve_and_query/bundle``.
"""

import time
from pathlib import Path

from fastapi.testclient import TestClient

import bigrec
from bigrec.serving.app import create_app
from bigrec.serving.options import ServingOptions

bundle = Path("runs/serve_and_query/bundle")
dataset = bigrec.Dataset.sample()
bigrec.BIGRec(bigrec.Settings.read(overrides=["mode=text"])).fit(dataset).save(bundle)

# The journal holds what callers change. This run begins without the changes of an earlier one.
journal = bundle.with_name("journal.jsonl")
journal.unlink(missing_ok=True)
app = create_app(ServingOptions(bundles=(bundle,), journal=journal))
with TestClient(app, base_url="http://127.0.0.1") as client:
    while client.get("/health/ready").is_error:  # until the bundle is loaded
        time.sleep(0.1)
    question = {"history": ["The Binary Airlock", "Android of Vega"], "k": 3}
    answer = client.post("/v1/recommend", json=question).raise_for_status().json()
    print([item["title"] for item in answer["items"]])

    # A premiere is listed at once.
    film = {"item_id": "new1", "title": "The Frozen Airlock"}
    print(client.post("/v1/items", json=film).raise_for_status().status_code)
    answer = client.post("/v1/recommend", json={**question, "items": ["new1", "f001"]}).json()
    print([item["title"] for item in answer["items"]])

    print(client.get("/info").raise_for_status().json()["bundles"])
