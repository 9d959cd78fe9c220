#!/bin/sh
# A database of its own for the service and for MLflow, each with an owner; the service's own role may not change its
# schema. Runs when the volume is empty, and at each `make up`: what is there already is brought to this.
set -eu
for name in sentigate mlflow; do
  owner=$name
  [ "$name" = mlflow ] || owner=${name}_owner
  for role in "$owner" "$name"; do
    psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --set=role="$role" --username=postgres --dbname=postgres <<'SQL'
\set file '/run/secrets/' :role '_password'
\set password `cat :file`
SELECT format('CREATE ROLE %I LOGIN', :'role') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
ALTER ROLE :"role" PASSWORD :'password';
SQL
  done
  psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --set=name="$name" --set=owner="$owner" --username=postgres --dbname=postgres <<'SQL'
SELECT format('CREATE DATABASE %I ENCODING ''UTF8'' TEMPLATE template0', :'name')
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
ALTER DATABASE :"name" OWNER TO :"owner";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"name" TO :"name";
\connect :name
REVOKE ALL ON SCHEMA public FROM PUBLIC;
SELECT format('REASSIGN OWNED BY %I TO %I', :'name', :'owner') WHERE :'name' <> :'owner' \gexec
SQL
done
