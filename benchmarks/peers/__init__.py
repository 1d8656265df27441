"""bigrec beside other packages for recommendation: the same data, split and cores, in one run.

``python -m benchmarks.peers.environments`` makes an environment for each peer from pinned versions;
``python -m benchmarks --stage peers`` runs all sides in turns; ``python -m benchmarks.peers.tuned``
tunes SASRec of bigrec and of RecTools on one grid.
"""

from typing import Any


def bench_peers_stage() -> dict[str, Any]:
    """See `benchmarks.peers.stage`."""
    # Not above: what is run as a module would be imported twice.
    from benchmarks.peers import stage  # noqa: PLC0415

    return stage.bench_peers_stage()
