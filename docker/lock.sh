#!/bin/bash
# Writes the hashed locks: every package of every environment, no index address. PYTHON names the Python to use.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"${PYTHON:-python3}" -m venv "$tools/uv"
if [ -s docker/uv.txt ]; then
    "$tools/uv/bin/python" -m pip install --quiet --require-hashes -r docker/uv.txt
else
    "$tools/uv/bin/python" -m pip install --quiet "$(cat docker/uv.in)"
fi
compile() {
    "$tools/uv/bin/uv" pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes --no-emit-index-url --no-emit-find-links \
        --no-header --no-annotate --upgrade "$1" "${@:3}" --output-file "$tools/lock.txt"
    cp "$tools/lock.txt" "$2"
    echo "$2: $(grep -c '^[a-z]' "$2") packages"
}
compile docker/uv.in docker/uv.txt
compile tests/pipeline/crate.in tests/pipeline/crate.txt
for env in fsenv csenv dpo; do
    for stack in paper current; do compile "$env/locks/$stack.in" "$env/locks/$stack.txt"; done
done
# What the benchmark of training installs besides: only packages that the dpo environment lacks.
mapfile -t held < <(sed -n 's/^\([a-z0-9-]*\)==.*/--no-emit-package=\1/p' dpo/locks/paper.txt)
compile tests/bench/trl.in tests/bench/trl.txt -c dpo/locks/paper.txt "${held[@]}"
