#!/usr/bin/env bash
cd /qdrant/src && exec /opt/q/bin/python -m tests.qdrant_over_grpc 0.0.0.0 6333 /qdrant/storage/edge
