"""The service as a Ray Serve deployment: ``serve run examples.ray_serve:service``.

Needs ``pip install 'ray[serve]' 'bigrec[serve]'``; tried with Ray 2.60.0, with one replica and two.
Replicas on one machine share the journal and, in the folder ``arrays``, large arrays.
"""

from pathlib import Path

from ray import serve

from bigrec.serving.app import create_app
from bigrec.serving.options import ServingOptions


def application():
    """The ASGI application of one replica; it loads the bundle when it starts."""
    folder = Path("runs/demo")
    return create_app(
        ServingOptions(
            bundles=(folder / "bundle",), keys=Path("keys.json"), arrays=folder / "arrays"
        )
    )


@serve.deployment(ray_actor_options={"num_cpus": 1})
@serve.ingress(application)
class BigrecService:
    """All routes of docs/serving.md."""


service = BigrecService.bind()
