#!/usr/bin/env bash
# What the whole study would cost on this machine: fifteen objects of their real sizes, each image a link to one of
# bottle's, and stand-ins for the published weights. Nothing is computed but a calibration of some seconds.
#
#   crates/blemish/benches/study_cost.sh MVTEC_AD/bottle SCRATCH
set -euo pipefail
bottle=$(realpath "${1:?give the folder of bottle}")
scratch=${2:?give a scratch folder}
cd "$(dirname "$0")/../../.."
# BLEMISH names a program that is built already.
[ -n "${BLEMISH:-}" ] || cargo build --release -p blemish-cli
blemish=${BLEMISH:-$PWD/target/release/blemish}
mkdir -p "$scratch"
[ -d "$scratch/weights" ] || cargo run --release -p blemish --example stand_in_weights -- "$scratch/weights"
cd "$scratch"
mapfile -t good < <(ls "$bottle"/train/good/*.png)
mapfile -t defective < <(ls "$bottle"/test/broken_large/*.png)
# Object, training images, test images.
while read -r object train test; do
    mkdir -p "data/$object/train/good" "data/$object/test/good" "data/$object/test/defect"
    for ((i = 0; i < train; i++)); do
        ln -sf "${good[i % ${#good[@]}]}" "data/$object/train/good/$(printf %03d "$i").png"
    done
    for ((i = 0; i < test / 2; i++)); do
        ln -sf "${good[i % ${#good[@]}]}" "data/$object/test/good/$(printf %03d "$i").png"
    done
    for ((i = test / 2; i < test; i++)); do
        ln -sf "${defective[i % ${#defective[@]}]}" "data/$object/test/defect/$(printf %03d "$i").png"
    done
done << 'SIZES'
bottle 209 83
cable 224 150
capsule 219 132
carpet 280 117
grid 264 78
hazelnut 391 110
leather 245 124
metal_nut 220 115
pill 267 167
screw 320 160
tile 230 117
toothbrush 60 42
transistor 213 100
wood 247 79
zipper 240 151
SIZES
"$blemish" plan --print-config > study.toml
"$blemish" plan data --out cost --config study.toml --weights weights --memory 8G
