#!/bin/sh
# Starts the training service; with `ray` as its argument on the head of a Ray cluster, which more nodes can join.
set -eu
if [ "${1:-alone}" = ray ]; then
    ray start --head --dashboard-host=127.0.0.1 --disable-usage-stats
    export RAY_ADDRESS=127.0.0.1:6379
fi
exec lookalike trainer
