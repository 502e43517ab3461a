#!/bin/sh
# Starts Qdrant with the keys of files, which its settings cannot name. The second key may read alone: Prometheus' own.
set -eu
QDRANT__SERVICE__API_KEY=$(cat /run/secrets/qdrant_api_key)
QDRANT__SERVICE__READ_ONLY_API_KEY=$(cat /run/secrets/qdrant_read_key)
export QDRANT__SERVICE__API_KEY QDRANT__SERVICE__READ_ONLY_API_KEY
cd /qdrant
exec ./entrypoint.sh
