#!/bin/sh
# Starts Redis so that nothing it acknowledged is lost or evicted. Its password comes from a file and goes into a
# configuration in memory: an argument would show in every list of processes.
set -eu
umask 077
cat > /run/redis/redis.conf <<END
requirepass $(cat /run/secrets/redis_password)
appendonly yes
appendfsync everysec
save ""
maxmemory ${REDIS_MAXMEMORY:-1gb}
maxmemory-policy noeviction
tcp-keepalive 60
dir /data
END
exec redis-server /run/redis/redis.conf
