#!/bin/sh
# Starts Qdrant with the key of a file, which its settings cannot name.
set -eu
QDRANT__SERVICE__API_KEY=$(cat /run/secrets/qdrant_api_key)
export QDRANT__SERVICE__API_KEY
cd /qdrant
exec ./entrypoint.sh
