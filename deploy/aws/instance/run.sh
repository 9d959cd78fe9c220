#!/usr/bin/env bash
# Runs the image that sentigate-sync has made ready, until it ends.
set -euo pipefail
run=${SENTIGATE_RUN:-/run/sentigate}
etc=${SENTIGATE_ETC:-/etc/sentigate}
state=${SENTIGATE_STATE:-/var/lib/sentigate}

image=$(cat "$run/image")
mapfile -t logging <"$run/logging"
memory_kb=$(awk '/^MemTotal:/ { print $2 }' /proc/meminfo)
memory=$((memory_kb - 400000))k # what is left is for the system and docker

touch "$run/started"
exec docker run --rm --name sentigate \
  --read-only --cap-drop ALL --security-opt no-new-privileges --user 1034:1034 \
  --pids-limit 512 --memory "$memory" --memory-swap "$memory" \
  --tmpfs /tmp:rw,nosuid,nodev,noexec,size=64m \
  --volume "$state:/var/lib/sentigate" \
  --volume "$run/secrets:/run/secrets/sentigate:ro" \
  --volume "$etc/rds.pem:/etc/ssl/rds.pem:ro" \
  --env-file "$run/settings" \
  --env SENTIMENT_STATE_DIR=/var/lib/sentigate \
  --env SENTIMENT_API_KEY_FILE=/run/secrets/sentigate/api-keys \
  --env DATABASE_URL_FILE=/run/secrets/sentigate/database-url \
  --publish "${SENTIGATE_PORT:-3000}:3000" \
  "${logging[@]}" "$image"
