#!/bin/sh
# Passwords reach MLflow by its environment and a file of its own: arguments can be read by every process of the machine.
set -eu
umask 077
MLFLOW_BACKEND_STORE_URI="postgresql+psycopg://mlflow:$(cat /run/secrets/mlflow_password)@postgres:5432/mlflow"
MLFLOW_AUTH_ADMIN_USERNAME=admin
MLFLOW_AUTH_ADMIN_PASSWORD=$(cat /run/secrets/mlflow_admin_password)
MLFLOW_FLASK_SERVER_SECRET_KEY=$(printf 'forms %s' "$MLFLOW_AUTH_ADMIN_PASSWORD" | sha256sum)
MLFLOW_AUTH_CONFIG_PATH=/tmp/auth.ini
cat >"$MLFLOW_AUTH_CONFIG_PATH" <<INI
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = $MLFLOW_BACKEND_STORE_URI
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
INI
export MLFLOW_BACKEND_STORE_URI MLFLOW_AUTH_ADMIN_USERNAME MLFLOW_AUTH_ADMIN_PASSWORD MLFLOW_FLASK_SERVER_SECRET_KEY MLFLOW_AUTH_CONFIG_PATH
exec mlflow server --app-name basic-auth --host 0.0.0.0 --port 5000 --workers 2 --artifacts-destination /var/lib/mlflow/artifacts
