#!/usr/bin/env bash
# The study's whole plan, 68,160 experiments, on few and small synthetic images with the names of its fifteen objects and
# stand-ins for the published weights: counts, store, resume and export at full scale.
#
#   crates/blemish/benches/full_scale.sh SCRATCH [TRAIN [TEST_GOOD [PER_DEFECT]]]
#
# Prints the time of each step, the size of the store and of what is kept, and fails if a result is missing. The run is
# killed once on its way.
set -euo pipefail
scratch=${1:?give a scratch folder}
train=${2:-4} good=${3:-2} defective=${4:-1}
cd "$(dirname "$0")/../../.."
cargo build --release -p blemish-cli
cargo build --release -p blemish --example stand_in_weights
blemish=$PWD/target/release/blemish
mkdir -p "$scratch"
target/release/examples/stand_in_weights "$scratch/weights"
cd "$scratch"
step() {
    local start
    start=$(date +%s.%N)
    "${@:2}" > step.out 2> step.err || { cat step.err; exit 1; }
    printf '%-42s %8.1f s\n' "$1" "$(echo "$(date +%s.%N) - $start" | bc)"
}
[ -d data ] || step "images" "$blemish" synth data --mvtec-names --size 64 --train "$train" --test-good "$good" --per-defect "$defective"
"$blemish" plan --print-config > study.toml
run=(grid data --out run --config study.toml --weights weights --memory 8G)
step "plan" "$blemish" plan data --out run --config study.toml --weights weights --memory 8G
tail -n 2 step.out
# Killed on its way; what it has stays.
timeout -s KILL 60 "$blemish" "${run[@]}" > /dev/null 2>&1 || true
"$blemish" status run | head -n 1
step "grid, after 60 s and kill -9" "$blemish" "${run[@]}"
tail -n 3 step.err
step "grid again: nothing to do" "$blemish" "${run[@]}"
step "status" "$blemish" status run
head -n 1 step.out
step "results" "$blemish" results run
step "export to CSV" "$blemish" export run --format csv -o results.csv
step "export to JSON" "$blemish" export run --format json -o results.json
step "collect garbage" "$blemish" gc run
cat step.out
[ "$(grep -c ',done,' results.csv)" = 68160 ] || { echo "not all 68,160 experiments have a result"; exit 1; }
du -sh --apparent-size run/store.sqlite run/products results.csv results.json
