#!/usr/bin/env bash
# The life of a cluster, by `thetis`: from being registered to being forgotten.
#
# Needs: THETIS (the program), THETIS_API_URL, HOST (a node of the cluster), OTHER (a node of an empty
# cluster with the same tables), LOCATION (where backups go).
set -euo pipefail

# has <pattern>: whether standard input has such a line. Reads all of it: whoever writes it must not be cut off.
has() { grep "$@" | cat >/dev/null; }

dir=$(mktemp -d)
watching=
trap '[ -z "$watching" ] || kill "$watching"; rm -rf "$dir"' EXIT

step() { printf '\n== %s\n' "$*"; }
thetis() { "$THETIS" "$@"; }
# json <expression>: what it makes of the JSON on standard input, `j`.
json() { python3 -c "import json, sys; j = json.load(sys.stdin); print($1)"; }
# fails <status> <command>…: the command must end with that status.
fails() {
    local expected=$1 status=0
    shift
    "$@" || status=$?
    [ "$status" = "$expected" ] || { echo "status $status, not $expected: $*" >&2; exit 1; }
}

step "register"
thetis cluster add --name life --host "$HOST" --label team=db
thetis cluster add --name other --host "$OTHER"
fails 4 thetis cluster add --name life --host "$HOST"
thetis cluster update -c life --label team=storage
thetis cluster list
thetis status -c life | tee /dev/stderr | has 'UN  *UP'

step "credentials"
printf 'hunter2\n' >"$dir/password"
thetis cluster update -c life --username thetis --password-file "$dir/password"
kept='[next(c for c in j if c["name"] == "life").get(key) for key in ("username", "password")]'
thetis cluster list --output json | json "$kept" | has -x "\['set', 'set'\]"
thetis cluster update -c life --delete-cql-credentials
thetis cluster list --output json | json "$kept" | has -x '\[None, None\]'

step "dry run"
thetis backup -c life -L "$LOCATION" --dry-run --show-tables | tee /dev/stderr | has 'Disk size: ~'
[ "$(thetis tasks -c life --all --output json | json 'len(j)')" = 0 ]

step "a backup by schedule"
"$THETIS" watch -c life >"$dir/watched" &
watching=$!
thetis backup -c life -L "$LOCATION" --cron '@every 24h' --name nightly --label team=db
thetis progress -c life backup/nightly --wait
thetis progress -c life backup/nightly --details | has UPLOADED
for _ in $(seq 100); do has 'nightly.*DONE' <"$dir/watched" && break; sleep 0.1; done
has 'nightly.*DONE' <"$dir/watched" || { cat "$dir/watched" >&2; exit 1; }
kill -INT "$watching"
wait "$watching"
watching=
thetis info -c life backup/nightly | tee /dev/stderr | has 'Schedule:  *@every 24h'
thetis update -c life backup/nightly --set retention=5 --window 00:00,24:00
thetis info -c life backup/nightly --output json | json 'j["task"]["properties"]["retention"]' | has -x 5
thetis tasks -c life

step "list"
tag=$(thetis backup list -c life --output json | json 'j[0]["snapshot_info"][0]["snapshot_tag"]')
thetis backup files -c life -T "$tag" | has 'Data.db'

step "suspend and resume"
thetis suspend -c life
fails 4 thetis start -c life backup/nightly
thetis resume -c life

step "throttle"
thetis throttle -c life --rate 200MiB/s | has 'every node: 200 MiB/s'
thetis throttle -c life backup/nightly --rate 0 | has 'backup/nightly: no limit'
thetis throttle -c life --reset
thetis throttle -c life backup/nightly --reset | has -x 'every node: as its tasks say'
fails 2 thetis throttle -c life --rate fast

step "again"
thetis start -c life backup/nightly --no-continue --wait
[ "$(thetis backup list -c life --output json | json 'len(j[0]["snapshot_info"])')" = 2 ]
thetis backup validate -c life --wait
thetis backup pin -c life -T "$tag" --reason 'the first'
fails 4 thetis backup delete -c life -T "$tag" --yes
thetis backup unpin -c life -T "$tag"

step "restore"
thetis restore -c other -L "$LOCATION" -T "$tag" --dry-run | tee /dev/stderr | has 'Snapshot tag'
thetis restore -c other -L "$LOCATION" -T "$tag" --wait

step "stop and delete"
thetis backup delete -c life -T "$tag" --yes
[ "$(thetis backup list -c life --output json | json 'len(j[0]["snapshot_info"])')" = 1 ]
thetis backup delete-local-snapshots -c life --yes
thetis stop -c life backup/nightly --disable
thetis tasks -c life --all | has '^\*backup/'
thetis stop -c life backup/nightly --delete
fails 3 thetis info -c life backup/nightly
thetis cluster delete life --yes
thetis cluster delete other --yes
[ "$(thetis cluster list --output json | json 'len(j)')" = 0 ]
