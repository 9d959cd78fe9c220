#!/usr/bin/env bash
# Brings an image, named by digest, into an environment on EC2: a copy of it in ECR, then Terraform.
# ECR_REPOSITORY is ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME.
set -euo pipefail
environment=$1 image=$2
repository=${ECR_REPOSITORY:?is the repository of ECR that instances pull from, set it}
digest=${image##*@sha256:}
copied=$(.venv/bin/python -m deploy.images.registry mirror "$image" "$repository" "sha-${digest:0:12}")
exec .venv/bin/python -m sentigate deploy aws --environment "$environment" --yes apply --image "$copied"
