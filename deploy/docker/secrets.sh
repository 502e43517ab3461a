#!/bin/sh
# Makes the secrets that docker-compose.yml and deploy/k8s hand out as files: `sh deploy/docker/secrets.sh [FOLDER]`.
#
# A file that is there stays as it is, so that running this again changes nothing. Others on this machine are kept out by
# the folder, which only its owner may enter; the files themselves are readable, because each container has a user of its own.
set -eu
folder=${1:-.secrets}
umask 022
mkdir -p "$folder"
chmod 700 "$folder"
cd "$folder"
[ -e .gitignore ] || printf '*\n' > .gitignore

new_secret() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
keep() { [ -s "$1" ] || { cat > "$1.new" && mv "$1.new" "$1"; }; }

new_secret | keep redis_password
printf 'redis://:%s@redis:6379/0' "$(cat redis_password)" | keep redis_url
new_secret | keep qdrant_api_key
new_secret | keep qdrant_read_key
new_secret | keep session_key
new_secret | keep ray_token
new_secret | keep grafana_password
new_secret | keep s3_password
printf '[default]\naws_access_key_id = lookalike\naws_secret_access_key = %s\n' "$(cat s3_password)" | keep s3_credentials
# The portal lets in whoever shows one of its tokens: the first is yours, an admin's; the second reads metrics and no more.
# For others add lines name:role:secret, the role being viewer, editor or admin.
new_secret | keep metrics_token
printf '%s\nprometheus:metrics:%s\n' "$(new_secret)" "$(cat metrics_token)" | keep api_tokens
printf 'secrets are in %s; the token that opens the portal is the first line of %s/api_tokens\n' "$PWD" "$PWD" >&2
