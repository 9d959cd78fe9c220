#!/bin/sh
# Runs once, when the volume is empty: a role and a database of their own for the service and for MLflow.
set -eu
for name in sentigate mlflow; do
  psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --set=name="$name" --username=postgres --dbname=postgres <<'SQL'
\set file '/run/secrets/' :name '_password'
\set password `cat :file`
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name" ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
done
