#!/usr/bin/env bash
# The life of a cluster, over HTTP: from being registered to being forgotten, with the shapes that
# ScyllaDB Manager's clients know.
#
# Needs: THETIS_API_URL, HOST (a node of the cluster), OTHER (a node of an empty cluster with the same
# tables), LOCATION (where backups go).
set -euo pipefail

# has <pattern>: whether standard input has such a line. Reads all of it: whoever writes it must not be cut off.
has() { grep "$@" | cat >/dev/null; }

step() { printf '\n== %s\n' "$*"; }
# json <expression>: what it makes of the JSON on standard input, `j`.
json() { python3 -c "import json, sys; j = json.load(sys.stdin); print($1)"; }
# call <status> <method> <path> [<body>]: prints the answer, which must have that status.
call() {
    local expected=$1 method=$2 path=$3 body=${4-} answer status
    answer=$(curl --silent --show-error --noproxy '*' -X "$method" -H 'Content-Type: application/json' \
        ${body:+--data "$body"} -w '\n%{http_code}' "$THETIS_API_URL$path")
    status=${answer##*$'\n'}
    answer=${answer%$'\n'*}
    [ "$status" = "$expected" ] || { echo "$method $path: $status, not $expected: $answer" >&2; exit 1; }
    printf '%s\n' "$answer"
}
# made <path> <body>: makes it, and prints the last part of its Location.
made() {
    curl --silent --show-error --noproxy '*' -o /dev/null -D - -H 'Content-Type: application/json' \
        --data "$2" "$THETIS_API_URL$1" | tr -d '\r' | sed -n 's#^[Ll]ocation: .*/##p'
}
# ended <task path>: waits for its latest run, which must be DONE.
ended() {
    local status=NEW
    for _ in $(seq 600); do
        status=$(call 200 GET "$1/latest" | json 'j["run"]["status"]')
        case $status in DONE) return ;; NEW | RUNNING | STOPPING) sleep 0.2 ;; *) break ;; esac
    done
    call 200 GET "$1/latest" >&2
    exit 1
}

step "register"
id=$(made /clusters "{\"name\": \"life\", \"host\": \"$HOST\", \"port\": 10001, \"auth_token\": \"unused\"}")
[ -n "$id" ]
other=$(made /clusters "{\"name\": \"other\", \"host\": \"$OTHER\"}")
call 409 POST /clusters "{\"name\": \"life\", \"host\": \"$HOST\"}" | json 'j["message"], j["details"], j["trace_id"]'
call 200 PUT "/cluster/$id" '{"labels": {"team": "db"}}' | json 'j["labels"]["team"]' | has -x db
call 200 GET "/cluster/$id/status" | json 'j[0]["status"], j[0]["rest_status"], j[0]["cql_status"]' | has "UN.*UP.*UP"

step "dry run"
backup="{\"type\": \"backup\", \"name\": \"nightly\", \"enabled\": true, \"properties\": {\"location\": [\"$LOCATION\"]},
    \"schedule\": {\"cron\": \"0 2 * * *\", \"timezone\": \"Europe/Berlin\", \"num_retries\": 3, \"retry_wait\": \"10m0s\"}}"
call 200 GET "/cluster/$id/tasks/backup/target" "$backup" | json 'j["size"] > 0' | has -x True
call 200 GET "/cluster/$id/tasks?all=true" | json 'len(j)' | has -x 0

step "a backup by schedule"
task=$(made "/cluster/$id/tasks" "$backup")
path=/cluster/$id/task/backup/$task
call 200 GET "/cluster/$id/tasks" | json 'j[0]["status"], j[0]["next_activation"]' | has 'NEW.*:00:00Z'
call 200 PUT "$path/start?continue=false"
ended "$path"
call 200 GET "$path/history?limit=5" | json 'len(j)' | has -x 1
call 200 GET "$path/~0" | json 'j["progress"]["hosts"][0]["keyspaces"][0]["tables"][0]["uploaded"] > 0' | has -x True
call 200 GET "$path" | json 'j["schedule"]["timezone"]' | has -x Europe/Berlin

step "list"
tag=$(call 200 GET "/cluster/$id/backups?keyspace=&query_cluster_id=$id" | json 'j[0]["snapshot_info"][0]["snapshot_tag"]')
call 200 GET "/cluster/$id/backups/files?keyspace=&snapshot_tag=$tag" | json 'len(j[0]["files"]) > 0' | has -x True

step "suspend and resume"
call 200 PUT "/cluster/$id/suspended?start_tasks=false" true
call 200 GET "/cluster/$id/suspended" | has -x true
call 409 PUT "$path/start?continue=true"
call 200 GET "/cluster/$id/suspended/details" | json 'j["suspended"]' | has -x True
call 200 PUT "/cluster/$id/suspended?start_tasks=false&start_tasks_missed_activation=false&no_continue=false" false

step "again"
call 200 PUT "$path/start?continue=true"
ended "$path"
validation=$(made "/cluster/$id/tasks" '{"type": "validate_backup", "enabled": true, "properties": {}}')
ended "/cluster/$id/task/validate_backup/$validation"

step "restore"
restore="{\"type\": \"restore\", \"enabled\": true, \"properties\": {\"location\": [\"$LOCATION\"], \"snapshot_tag\": \"$tag\", \"restore_tables\": true}}"
call 200 GET "/cluster/$other/tasks/restore/target" "$restore" | json 'j["missing"], j["size"] > 0' | has '\[\] True'
ended "/cluster/$other/task/restore/$(made "/cluster/$other/tasks" "$restore")"

step "what is wrong is named"
for body in '{"type": "cook"}' '{"type": "repair"}' '[1]' '{"type": "backup", "properties": {"location": ["ftp:x"]}}' \
    '{"type": "backup", "schedule": {"window": ["25:00", "26:00"]}, "properties": {"location": ["s3:a"]}}'; do
    call 400 POST "/cluster/$id/tasks" "$body" | json 'j["message"]'
done
call 200 GET "/cluster/$id/tasks?type=repair" | json 'len(j)' | has -x 0
call 404 GET /cluster/nobody | json 'j["message"]'

step "stop and delete"
call 200 DELETE "/cluster/$id/backups?snapshot_tags=$tag"
call 200 PUT "$path/stop?disable=true"
call 200 GET "$path" | json 'j["enabled"]' | has -x False
call 200 DELETE "$path"
call 404 GET "$path"
call 200 DELETE "/cluster/$id"
call 200 DELETE "/cluster/$other"
call 200 GET /clusters | json 'len(j)' | has -x 0
