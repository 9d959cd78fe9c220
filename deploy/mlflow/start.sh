#!/bin/sh
# The password reaches MLflow by its environment: arguments can be read by every process of the machine.
set -eu
MLFLOW_BACKEND_STORE_URI="postgresql+psycopg://mlflow:$(cat /run/secrets/mlflow_password)@postgres:5432/mlflow"
export MLFLOW_BACKEND_STORE_URI
exec mlflow server --host 0.0.0.0 --port 5000 --workers 2 --artifacts-destination /var/lib/mlflow/artifacts
