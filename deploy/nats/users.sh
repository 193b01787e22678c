#!/bin/sh
# Writes what each user of NATS may do, for nats-server: `users.sh users > users.conf`.
#
# The list of users says how it is written. After a change: `nats-server --signal reload`, on each server.
# Subjects and names are those of Thetis' code; a test runs a backup and a restore with them.
set -eu

fail() {
    echo "users.sh: $*" >&2
    exit 64
}

# As Thetis writes a datacenter in subjects and names: what is no letter, digit, `-` or `_` becomes =XX.
token() {
    printf %s "$1" | od -An -v -tx1 | tr -s ' \n' '\n\n' | while read -r byte; do
        [ -n "$byte" ] || continue
        case $byte in
        2d | 5f | 3[0-9] | 4[1-9a-f] | 5[0-9a] | 6[1-9a-f] | 7[0-9a]) printf "\\$(printf %o "0x$byte")" ;;
        *) printf '=%s' "$(printf %s "$byte" | tr a-f A-F)" ;;
        esac
    done
}

# A list of subjects, one a line.
list() { printf '                "%s"\n' "$@"; }

login() {
    case $2 in
    U[A-Z2-7]*) [ ${#2} = 56 ] && { printf '            nkey: %s\n' "$2"; return; } ;;
    esac
    case $2 in *[\"\\]*) fail "the password of $1 has a quote or a backslash" ;; esac
    printf '            user: "%s", password: "%s"\n' "$1" "$2"
}

# open <user> <password>: what every user has; answers to questions may be sent, one each.
open() {
    echo "        {"
    login "$1" "$2"
    echo "            permissions: {"
    echo "                allow_responses: { max: 1, expires: \"1m\" }"
}
close() { printf '            }\n        }\n'; }
publish() { echo "                publish: { allow: ["; list "$@"; echo "                ] }"; }
subscribe() { echo "                subscribe: { allow: ["; list "$@"; echo "                ] }"; }

# reads <bucket> <keys>: a worker looks up, lists and watches keys of a bucket. Single values can be asked for
# by any key: no bucket that a worker reads holds secrets.
reads() {
    list "\$JS.API.STREAM.INFO.KV_$1" \
        "\$JS.API.STREAM.MSG.GET.KV_$1" \
        "\$JS.API.CONSUMER.CREATE.KV_$1.*.\$KV.$1.$2" \
        "\$JS.API.CONSUMER.MSG.NEXT.KV_$1.*" \
        "\$JS.API.CONSUMER.DELETE.KV_$1.*"
}

# takes <consumer>: a worker takes jobs from a consumer that a scheduler has made, and settles them.
takes() {
    list "\$JS.API.CONSUMER.INFO.JOBS.$1" \
        "\$JS.API.CONSUMER.MSG.NEXT.JOBS.$1" \
        "\$JS.ACK.JOBS.$1.>"
}

# A node's workers, `thetis node`: with `nats.provision = false`.
node() {
    open "$1" "$2"
    echo "                publish: { allow: ["
    list "\$JS.API.INFO"
    for name in snapshot upload validate restore restore-batches; do takes "$name-$1"; done
    takes "restore-$4-$(token "$3")"
    reads control ">"
    reads clusters ">"
    reads leases "worker.>"
    reads undo "$4.>"
    # What it says: that it lives, how far it is, how a schema was, and what happened.
    list "\$KV.leases.worker.*.$1.*" "\$KV.progress.*.$1.*" "\$KV.progress.*.any.*" "\$KV.undo.$4.*" "\$KV.undo.nodes.*.$1"
    list "thetis.event.*.$4.*"
    # A message that is no job and names no cluster is refused in nobody's name.
    list "thetis.event.refused.00000000-0000-0000-0000-000000000000.*"
    # How much room others have, before a restore.
    list "thetis.ask.ping.*"
    echo "                ] }"
    subscribe "_INBOX.$1.>" "thetis.ask.*.$1"
    close
}

# Schedulers make all streams, buckets and consumers; they change and delete none of the streams.
scheduler() {
    open scheduler "$1"
    echo "                publish: { allow: ["
    list "thetis.job.>" "thetis.event.>" "thetis.audit.>" "thetis.notice.>" "thetis.ask.>" "\$JS.API.INFO"
    for stream in JOBS EVENTS AUDIT; do list "\$JS.API.STREAM.INFO.$stream" "\$JS.API.STREAM.CREATE.$stream"; done
    list "\$JS.API.STREAM.PURGE.JOBS"
    for stream in JOBS EVENTS; do list "\$JS.API.CONSUMER.LIST.$stream" "\$JS.API.CONSUMER.NAMES.$stream"; done
    list "\$JS.API.CONSUMER.CREATE.JOBS.*" "\$JS.API.CONSUMER.MSG.NEXT.JOBS.scheduler" "\$JS.ACK.JOBS.scheduler.>"
    # It hears events, tells webhooks of them, and reads what was kept.
    for stream in EVENTS AUDIT; do
        list "\$JS.API.CONSUMER.CREATE.$stream.*" "\$JS.API.CONSUMER.MSG.NEXT.$stream.*" "\$JS.API.CONSUMER.DELETE.$stream.*"
    done
    list "\$JS.ACK.EVENTS.>"
    for bucket in clusters tasks runs leases progress control undo; do
        reads "$bucket" ">"
        list "\$JS.API.STREAM.CREATE.KV_$bucket" "\$KV.$bucket.>"
    done
    echo "                ] }"
    subscribe "_INBOX.scheduler.>" "thetis.command.>" "thetis.ask.logs.scheduler"
    close
}

# Programs of your own: they ask for runs, do what the API does (with its tokens), and hear what happens.
outside() {
    open outside "$1"
    publish "thetis.job.request.>" "thetis.command.>"
    subscribe "_INBOX.outside.>" "thetis.event.>" "thetis.audit.>" "thetis.notice.>"
    close
}

admin() {
    printf '        {\n'
    login admin "$1"
    printf '        }\n'
}

[ $# = 1 ] || fail "say which list of users: users.sh users > users.conf"
echo "# Written by users.sh: change the list, not this."
echo "authorization {"
echo "    users: ["
# Also a last line that does not end.
while read -r user password dc cluster rest || [ -n "$user" ]; do
    case $user in '' | '#'*) continue ;; esac
    [ -n "$password" ] && [ -z "$rest" ] || fail "\`$user\`: a user and a password; for a node also its datacenter and cluster"
    case $user in
    scheduler | outside | admin)
        [ -z "$dc" ] || fail "\`$user\` has no datacenter"
        "$user" "$password"
        ;;
    ????????-????-????-????-????????????)
        case $cluster in ????????-????-????-????-????????????) ;; *) fail "\`$user\`: the cluster's id is a UUID" ;; esac
        case $user$cluster in *[!0-9a-f-]*) fail "\`$user\`: ids are of small hexadecimal digits" ;; esac
        node "$user" "$password" "$dc" "$cluster"
        ;;
    *) fail "\`$user\` is neither scheduler, outside, admin nor a node's host id" ;;
    esac
done <"$1"
echo "    ]"
echo "}"
