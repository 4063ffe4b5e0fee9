#!/bin/bash
# Runs the tests, each package's in its own environment: tests/run.sh [fsenv|csenv|dpo [pytest arguments]]
# tests/run.sh bench [--quick]: the benchmarks instead
# Without arguments: all of them, the contract tests in all three environments, then the pipeline and the engines.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
pass=()
[ -n "${UPSTREAM_GOLDEN:-}" ] && pass=(--pass UPSTREAM_GOLDEN)

in_env() { # ENV pytest arguments: always in a virtual environment, with its variables and nothing of the caller's
    local env=$1
    shift
    ENGINE=venv DATA="$scratch" PYTHONDONTWRITEBYTECODE=1 "$python" "$root/docker/engine.py" run "$env" ${pass[@]+"${pass[@]}"} -- \
        python -m pytest -q -p no:cacheprovider --rootdir "$root" "$@"
}

venv_python() { # ENV: the path of its Python
    ENGINE=venv "$python" "$root/docker/engine.py" describe "$1" | "$python" -c 'import json, sys; print(json.load(sys.stdin)["python"])'
}

if [ "${1:-}" = bench ]; then
    shift
    for bench in "$root"/tests/bench/bench_*.py; do
        env=$(grep -o -m 1 "\.envs/[a-z]*" "$bench" || echo .envs/fsenv) # each says at its top where it runs
        echo "== $(basename "$bench" .py)"
        ENGINE=venv DATA="$scratch" PYTHONDONTWRITEBYTECODE=1 "$python" "$root/docker/engine.py" run "${env#.envs/}" -- python "$bench" "$@" || exit 1
    done
    exit
fi

if [ $# -gt 0 ]; then
    env=$1
    shift
    cd "$root" && in_env "$env" "$root/tests/$env" "$root/tests/contract" "$@"
    exit
fi

status=0
for env in fsenv csenv dpo; do
    echo "== $env: its own tests and the contract's"
    in_env "$env" "$root/tests/$env" "$root/tests/contract" || status=1
done
echo "== the pipeline at toy size, and the engines"
# These do what a user does, so they get the caller's variables (proxies, certificates); from csenv comes pytest alone.
PYTHONDONTWRITEBYTECODE=1 "$(venv_python csenv)" -m pytest -q -p no:cacheprovider --rootdir "$root" "$root/tests/pipeline" "$root/tests/images" || status=1
exit $status
