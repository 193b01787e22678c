#!/usr/bin/env bash
# Fuzzes what reads a bucket: each target for FUZZ_SECS seconds, as many at once as there are cores.
#
#   fuzz/run.sh                    all targets
#   fuzz/run.sh manifest           this one
#   fuzz/run.sh manifest INPUT     feeds it this one file, as after a crash
#
# Coverage-guided, by libFuzzer. The compiler's part of that is a pass that every rustc has; only
# the sanitizers, which would look for errors of memory, need a nightly one, and there is no unsafe
# code to look for. What is built, what was learned (corpus) and what crashed lies in
# $CARGO_TARGET_DIR/fuzz, or target/fuzz of the checkout.
set -euo pipefail

readonly SECS=${FUZZ_SECS:-60}
readonly JOBS=${FUZZ_JOBS:-$(nproc)}

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly here=$checkout/fuzz
readonly work=${CARGO_TARGET_DIR:-$checkout/target}/fuzz
machine=$(rustc -vV | sed -n 's/^host: //p')
readonly machine

# With --target, these flags are for the targets and what they are made of, and not for what runs
# while they are built.
build() {
    local flags=(
        -Cpasses=sancov-module
        -Cllvm-args=-sanitizer-coverage-level=4
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
        -Cllvm-args=-sanitizer-coverage-pc-table
        -Cllvm-args=-sanitizer-coverage-trace-compares
        --cfg=fuzzing
    )
    RUSTFLAGS="${flags[*]}" CARGO_TARGET_DIR="$work" CARGO_INCREMENTAL=0 \
        "${CARGO:-cargo}" build --locked --release --quiet \
        --manifest-path "$here/Cargo.toml" --target "$machine"
}

# fuzz <target>: says how much was tried, or what went wrong.
fuzz() {
    local target=$1 corpus=$work/corpus/$1 crashes=$work/crashes/$1 log=$work/$1.log status=0
    mkdir -p "$corpus" "$crashes"
    "$work/$machine/release/$target" "$corpus" "$here/seeds/$target" \
        -dict="$here/$target.dict" -artifact_prefix="$crashes/" -max_len=4096 -timeout=10 \
        -max_total_time="$SECS" -print_final_stats=1 >"$log" 2>&1 || status=$?
    local executed
    executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    if [ "$status" != 0 ]; then
        tail -n 40 "$log" >&2
        echo "fuzz: $target failed (status $status) after ${executed:-some} executions" >&2
        sed -n 's/.*Test unit written to /fuzz: feed it again: fuzz\/run.sh '"$target"' /p' "$log" >&2
        return 1
    fi
    [ "${executed:-0}" -gt 0 ] || { echo "fuzz: $target executed nothing; see $log" >&2; return 1; }
    echo "fuzz: $target: $executed executions in $SECS s, $(ls "$corpus" | wc -l) inputs kept"
}

if [ "${1:-}" = --one ]; then
    fuzz "$2"
    exit
fi
build
if [ $# = 2 ]; then
    exec "$work/$machine/release/$1" "$2"
fi
[ $# -gt 0 ] || set -- manifest key name
printf '%s\n' "$@" | xargs -P "$JOBS" -I '{}' "$here/run.sh" --one '{}'
