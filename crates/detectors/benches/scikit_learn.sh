#!/bin/sh
# Times this crate and scikit-learn 1.2.2 on the features of one object, in one run, and prints the ratios.
#
#     crates/detectors/benches/scikit_learn.sh mvtec_ad/bottle WEIGHTS_FOLDER SCRATCH_FOLDER [arguments of the Python script]
#
# Features (300 MB for the layer) and a Python environment are made in the scratch folder, once.
set -eu
object=$1
weights=$2
scratch=$3
shift 3
here=$(dirname "$0")
mkdir -p "$scratch"
if [ ! -f "$scratch/features/originals.npy" ]; then
    cargo run --release -p blemish --example features_npy -- "$object" "$weights" layer3 "$scratch/features"
fi
python=$("$here/../../testkit/venv.sh" "$scratch/venv" numpy==1.26.4 scipy==1.11.4 scikit-learn==1.2.2)
cargo run --release -p blemish-detectors --example grid_timing -- "$scratch/features" "$scratch/times.json"
"$python" "$here/peer_scikit_learn.py" "$scratch/features" "$scratch/times.json" "$@"
