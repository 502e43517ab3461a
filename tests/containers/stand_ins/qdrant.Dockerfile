# Stands in for Qdrant's server: the embedded engine behind its interfaces. A worker has all that tests/qdrant_over_grpc.py
# imports, today and tomorrow, but for that engine.
ARG WORKER
FROM ${WORKER}
ARG EDGE
USER 0:0
RUN pip install --no-cache-dir "${EDGE}" \
    && install -d -o 1000 -g 1000 /qdrant/storage /qdrant/src \
    && printf '%s\n' '#!/bin/sh' 'exec python -m tests.qdrant_over_grpc 0.0.0.0 6333 /qdrant/storage/edge' > /qdrant/entrypoint.sh \
    && chmod 0755 /qdrant/entrypoint.sh
ENV PYTHONPATH=/qdrant/src
WORKDIR /qdrant
USER 1000:1000
ENTRYPOINT []
CMD ["./entrypoint.sh"]
