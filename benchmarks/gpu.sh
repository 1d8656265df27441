#!/bin/sh
# The whole matrix on one GPU in ten minutes: train, generate, embed, ground and serve, with retrieval,
# generative mode, latent decoding and likelihood, on SmolLM2-135M and MovieLens-100K. One table at the end.
#
#   benchmarks/gpu.sh                       on the GPU
#   benchmarks/gpu.sh --modes generative    one mode, which then has all of the time
#   benchmarks/gpu.sh --device cpu --tiny   a dry run anywhere
set -eu
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" -m benchmarks.gpu "$@"
