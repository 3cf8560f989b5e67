#!/bin/sh
# Makes a Python environment with the packages that are named, if it is not there, and prints its interpreter.
#
#     crates/testkit/venv.sh FOLDER PACKAGE==VERSION ...
#
# PYTHON names the interpreter to make it with (python3).
set -eu
folder=$1
shift
if [ ! -x "$folder/bin/python" ]; then
    "${PYTHON:-python3}" -m venv "$folder" >&2
    # Without its packages it is as if it were not there.
    "$folder/bin/python" -m pip install --quiet "$@" >&2 || { rm -rf "$folder"; exit 1; }
fi
echo "$folder/bin/python"
