#!/bin/sh
# Only the first name server is the engine's, which knows the other containers; nginx would ask all in turn.
set -eu
NAME_SERVER=$(awk '$1 == "nameserver" { print ($2 ~ /:/) ? "[" $2 "]" : $2; exit }' /etc/resolv.conf)
export NAME_SERVER
envsubst '$NAME_SERVER $HTTPS_PORT $MAX_BODY_BYTES $REQUESTS_PER_SECOND' \
  </etc/sentigate/nginx.conf.template >/tmp/nginx.conf
exec nginx -c /tmp/nginx.conf -e /dev/stderr -g 'daemon off;'
