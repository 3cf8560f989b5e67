#!/bin/sh
# The reference study's own pipeline and `blemish grid` on the same experiments, one after the other, and the ratio of
# their times; then the differences of their AUROCs.
#
#     crates/blemish/benches/seed_study.sh mvtec_ad/bottle WEIGHTS_FOLDER SCRATCH_FOLDER [--layers layer3] [--augmented both]
#
# The Python environment is made in the scratch folder, once. With both training sets and one layer it takes about
# a quarter of an hour on two cores, nearly all of it scikit-learn's.
set -eu
object=$1
weights=$2
scratch=$3
shift 3
here=$(dirname "$0")
mkdir -p "$scratch"
# BLEMISH_SEED_STUDY_PYTHON names an interpreter that has these already.
python=${BLEMISH_SEED_STUDY_PYTHON:-$(PYTHON=python3.11 "$here/../../testkit/venv.sh" "$scratch/venv" numpy==1.26.4 \
    scipy==1.11.4 scikit-learn==1.2.2 torch==2.7.1 torchvision==0.22.1 safetensors pillow)}
cargo build --release --quiet -p blemish-cli
"$python" "$here/seed_study.py" "$object" "$weights" "$scratch" "$@"
rm -rf "$scratch/run"
start=$(date +%s.%N)
"${CARGO_TARGET_DIR:-target}/release/blemish" grid "$object" --out "$scratch/run" --architectures resnet18 \
    --initializations imagenet1k_v1 --resize paper --weights "$weights" ${*:---layers layer3}
end=$(date +%s.%N)
"$python" - "$scratch/seconds.json" "$start" "$end" <<'PYTHON'
import json, sys
theirs, ours = json.load(open(sys.argv[1]))["all"], float(sys.argv[3]) - float(sys.argv[2])
print(f"the study's pipeline: {theirs:.1f} s, blemish grid: {ours:.2f} s, ratio {theirs / ours:.0f}")
PYTHON
"${CARGO_TARGET_DIR:-target}/release/blemish" compare "$scratch/run" "$scratch/results.csv"
