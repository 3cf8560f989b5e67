#!/usr/bin/env bash
# Makes the golden values again: `regenerate.sh` all of them, `regenerate.sh metrics forest` some.
#
# scikit-learn 1.2.2, which the study ran, writes; the newest version on which this was checked compares. Environments
# are made at GOLDEN_ENVIRONMENTS (default: a folder below the system's temporary one) unless they are there. Scripts
# that read real features need BLEMISH_TEST_DATA, the folder that holds adbench/.
set -euo pipefail
cd "$(dirname "$0")"
environments=${GOLDEN_ENVIRONMENTS:-${TMPDIR:-/tmp}/blemish-golden}
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 PYTHONHASHSEED=0 PYTHONWARNINGS=ignore

environment() { # name, packages...
    local name=$1
    shift
    PYTHON=python3.11 ../../../testkit/venv.sh "$environments/$name" "$@" > /dev/null
}
environment sk122 numpy==1.26.4 scipy==1.11.4 scikit-learn==1.2.2 mpmath==1.4.1 pillow==12.0.0
environment sknew numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 mpmath==1.4.1 pillow==12.0.0

# Those that share inputs.py compare; the others are made by 1.2.2 alone.
compared=(metrics pixels svm lof density forest_real envelope)
alone=(bootstrap detectors mahalanobis forest elliptic pca)
scripts=("$@")
[ ${#scripts[@]} -gt 0 ] || scripts=("${compared[@]}" "${alone[@]}")
for script in "${scripts[@]}"; do
    "$environments/sk122/bin/python" "$script.py"
    if [[ " ${compared[*]} " == *" $script "* ]]; then
        "$environments/sknew/bin/python" "$script.py"
    fi
done
