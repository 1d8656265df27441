"""Bundles as tools of assistants and as MLflow models."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from bigrec.errors import DataError
from bigrec.recommender.bigrec import BIGRec
from tests.conftest import needs
from tests.serving.test_recommend import HISTORY

pytestmark = pytest.mark.model

DEPLOY = Path(__file__).parents[2] / "deploy"


@needs("mcp")
def test_assistants_have_three_tools_that_answer_as_the_library(bundle: Path) -> None:
    from mcp import Client

    from bigrec.serving.mcp_server import make_server

    recommender = BIGRec.load(bundle, device="cpu")

    async def ask() -> tuple[set[str], list[dict[str, Any]]]:
        async with Client(make_server(recommender)) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            calls: list[tuple[str, dict[str, Any]]] = [
                ("recommend", {"history": [*HISTORY, "nowhere"], "k": 3}),
                ("similar", {"item": "i7", "k": 3}),
                ("explain", {"history": HISTORY, "item": "i7"}),
            ]
            answers = [await client.call_tool(name, given) for name, given in calls]
            contents: list[Any] = [answer.content[0] for answer in answers]
            return names, [json.loads(content.text) for content in contents]

    names, (listed, near, explained) = asyncio.run(ask())
    assert names == {"recommend", "similar", "explain"}
    expected = recommender.recommend(HISTORY, k=3)
    assert [item["item_id"] for item in listed["items"]] == [item.item_id for item in expected]
    assert listed["unknown"] == ["nowhere"]
    assert len(near["items"]) == 3
    assert explained["rank"] == recommender.explain(HISTORY, "i7").rank


@pytest.mark.filterwarnings("ignore")
@needs("mlflow-skinny")
def test_an_mlflow_model_predicts_as_the_library(bundle: Path, tmp_path: Path) -> None:
    import mlflow.pyfunc
    import pandas as pd

    from bigrec.serving.mlflow_model import save_model

    save_model(bundle, tmp_path / "model")
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    predicted = model.predict(pd.DataFrame({"history": [HISTORY, ["i7"]], "k": [3, 2]}))
    expected = BIGRec.load(bundle, device="cpu").recommend(HISTORY, k=3)
    assert [item["item_id"] for item in predicted[0]] == [item.item_id for item in expected]
    assert [len(found) for found in predicted] == [3, 2]


def test_files_of_deployments_can_be_read_and_agree() -> None:
    documents = [
        document
        for path in sorted(DEPLOY.rglob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]
    kinds = [document["kind"] for document in documents if "kind" in document]
    assert kinds == ["Deployment", "Service", "PersistentVolumeClaim"]
    container = documents[kinds.index("Deployment") + 1]["spec"]["template"]["spec"]["containers"]
    assert container[0]["readinessProbe"]["httpGet"]["path"] == "/health/ready"


@pytest.mark.filterwarnings("ignore")
@needs("mlflow-skinny")
def test_an_mlflow_model_refuses_what_is_no_history_and_fills_missing_lengths(
    bundle: Path,
) -> None:
    import numpy as np
    import pandas as pd

    from bigrec.serving.mlflow_model import BundleModel

    model = BundleModel()
    model.recommender = BIGRec.load(bundle, device="cpu")

    def predict(frame: pd.DataFrame) -> list[int]:
        return [len(found) for found in model.predict(None, frame)]

    histories = [HISTORY, np.array(HISTORY)]
    assert predict(pd.DataFrame({"history": histories, "k": [2, None]})) == [2, 9]
    with pytest.raises(DataError, match="the history is 'i0': expected a list of ids or titles"):
        predict(pd.DataFrame({"history": ["i0"]}))
    with pytest.raises(TypeError, match=r"k is 2\.5; expected a whole number"):
        predict(pd.DataFrame({"history": [HISTORY], "k": [2.5]}))
    with pytest.raises(DataError, match="the rows have no column 'history'; their columns are: x"):
        predict(pd.DataFrame({"x": [HISTORY]}))
