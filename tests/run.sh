#!/bin/bash
# Runs the tests, each package's in its own environment: tests/run.sh [fsenv|csenv|dpo [pytest arguments]]
# tests/run.sh bench [--quick]: the benchmarks instead
# Without arguments: all of them, the contract tests in all three environments, the pipeline and the engines, as many groups at once
# as there are cores.
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

group() { # NAME pytest arguments: of the pipeline or the engines
    # These do what a user does, so they get the caller's variables (proxies, certificates); from csenv comes pytest alone.
    PYTHONDONTWRITEBYTECODE=1 "$(venv_python csenv)" -m pytest -q -p no:cacheprovider --rootdir "$root" "${@:2}"
}

sharing=(test_bundle.py test_paper_path.py test_processors.py test_provenance.py test_report_in_browser.py) # the rest of pipeline/ is as long

run() { # NAME: one group, its output in a file until it is done
    case $1 in
        fsenv | csenv | dpo) in_env "$1" "$root/tests/$1" "$root/tests/contract" ;;
        images) group "$1" "$root/tests/images" ;;
        sharing) group "$1" "${sharing[@]/#/$root/tests/pipeline/}" ;;
        pipeline) group "$1" "$root/tests/pipeline" "${sharing[@]/#/--ignore-glob=*/}" ;;
    esac >"$scratch/$1.log" 2>&1
    local status=$?
    echo "== $1: exit status $status after $((SECONDS - started)) s"
    if [ $status -eq 0 ]; then tail -n 3 "$scratch/$1.log"; else cat "$scratch/$1.log"; fi
    return $status
}

# First what all groups need, then as many at once as there are cores; the long ones first.
ENGINE=venv "$python" "$root/docker/engine.py" prepare --device cpu fsenv csenv dpo || exit
started=$SECONDS status=0
for name in pipeline dpo sharing csenv fsenv images; do
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do
        wait -n || status=1
    done
    run "$name" &
done
while [ -n "$(jobs -p)" ]; do
    wait -n || status=1
done
exit $status
