#!/usr/bin/env bash
# The study's whole plan, 68,160 experiments, on few and small synthetic images with the names of its fifteen objects and
# stand-ins for the published weights: counts, store, resume and export at full scale.
#
#   crates/blemish/benches/full_scale.sh SCRATCH [TRAIN [TEST_GOOD [PER_DEFECT]]]
#
# Prints the time of each step, the size of the store and of what is kept, and fails if a result is missing. The run is
# killed once on its way. BLEMISH names a program that is built already. With LIMIT=N the grid is stopped after N seconds,
# and the same command goes on.
set -euo pipefail
scratch=${1:?give a scratch folder}
train=${2:-2} good=${3:-2} defective=${4:-1}
cd "$(dirname "$0")/../../.."
[ -n "${BLEMISH:-}" ] || cargo build --release -p blemish-cli
blemish=${BLEMISH:-$PWD/target/release/blemish}
mkdir -p "$scratch"
[ -d "$scratch/weights" ] || cargo run --release -p blemish --example stand_in_weights -- "$scratch/weights"
cd "$scratch"
step() {
    local start code=0
    start=$(date +%s.%N)
    "${@:2}" > step.out 2> step.err || code=$?
    printf '%-42s %8.1f s\n' "$1" "$(echo "$(date +%s.%N) - $start" | bc)"
    [ "$code" = 0 ] || { tail -n 3 step.err; exit "$code"; }
}
selection=(data --out run --config study.toml --weights weights --memory 8G)
[ -d data ] || step "images" "$blemish" synth data --mvtec-names --size 64 --train "$train" --test-good "$good" --per-defect "$defective"
"$blemish" plan --print-config > study.toml
if [ ! -e run/plan.json ]; then
    step "plan" "$blemish" plan "${selection[@]}"
    tail -n 2 step.out
    # Killed once it has some results; they stay.
    "$blemish" grid "${selection[@]}" > /dev/null 2>&1 &
    child=$!
    until "$blemish" status run | head -n 1 | grep -qE '^[0-9]{4,} of'; do sleep 0.2; done
    kill -9 "$child"
    wait "$child" || true
    echo "killed: $("$blemish" status run | head -n 1)"
fi
step "grid" timeout -s TERM "${LIMIT:-0}" "$blemish" grid "${selection[@]}"
step "grid again: nothing to do" "$blemish" grid "${selection[@]}"
step "status" "$blemish" status run
head -n 1 step.out
step "results" "$blemish" results run
step "export to CSV" "$blemish" export run --format csv -o results.csv
step "export to JSON" "$blemish" export run --format json -o results.json
step "collect garbage" "$blemish" gc run
cat step.out
[ "$(grep -c ',done,' results.csv)" = 68160 ] || { echo "not all 68,160 experiments have a result"; exit 1; }
echo "tasks: $("$blemish" status run --format json | grep -oE '"seconds": [0-9.]+' | cut -d' ' -f2 | paste -sd+ | bc) s in all"
du -sh --apparent-size run/store.sqlite run/products results.csv results.json
