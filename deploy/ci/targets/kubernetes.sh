#!/usr/bin/env bash
# Brings an image, named by digest, into an environment on Kubernetes; kubectl's context says which cluster.
set -euo pipefail
environment=$1 image=$2
exec .venv/bin/python -m sentigate deploy kubernetes apply --overlay "$environment" --image "$image"
