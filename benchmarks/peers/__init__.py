"""bigrec beside other packages for recommendation: the same data, split and cores, in one run.

``python -m benchmarks.peers.environments`` makes an environment for each peer from pinned versions;
``python -m benchmarks --stage peers`` runs all sides in turns.
"""

from benchmarks.peers.stage import bench_peers_stage

__all__ = ["bench_peers_stage"]
