#!/bin/bash
# Podman without root, as a user who is not root: rootless.sh. Run it as that user (.ci/run makes one); it needs a base image on his podman,
# facttune/base:bookworm, and some 300 MB. A small image stands in for csenv's, since his store shares no layers with root's.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export ENGINE=podman STACK=paper DATA="$scratch/a volume" ENVS="$scratch/envs" PYTHONDONTWRITEBYTECODE=1
python=$(command -v /usr/bin/python3.11 || command -v python3)
[ "$(id -u)" != 0 ] || { echo "run this as a user who is not root" >&2; exit 2; }

name=$("$python" - "$root" <<'END'
import sys
from pathlib import Path
root = Path(sys.argv[1])
sys.path.insert(0, str(root / "docker"))
from common import Settings
from containers import image_name
print(image_name(Settings("podman", "paper", root, root, root), "csenv"))
END
)
{ echo "FROM facttune/base:bookworm"; sed -n '/^RUN apt-get/,/^$/p' "$root/docker/csenv.Dockerfile"; } >"$scratch/Dockerfile"
podman build --quiet --network host --tag "$name" "$scratch" >/dev/null

stage() { "$python" "$root/docker/engine.py" run csenv "${@:2}" -- python3.11 -c "$1"; }
status=0
said=$(stage 'import socket, sys; print([name for _, name in socket.if_nameindex()]); open("made here", "w"); sys.exit(5)') || status=$?
[ "$status" = 5 ] || { echo "the status was $status, not 5" >&2; exit 1; }
[ "$said" = "['lo']" ] || { echo "a stage without network sees: $said" >&2; exit 1; }
[ "$(find "$DATA" ! -user "$(id -un)" | wc -l)" = 0 ] && [ -f "$DATA/made here" ] || { echo "files that are not the caller's:" >&2; ls -laR "$DATA" >&2; exit 1; }
said=$(A_KEY="sk planted" stage 'import os; print(os.environ["A_KEY"])' --pass A_KEY)
[ "$said" = "sk planted" ] || { echo "the key came as: $said" >&2; exit 1; }
echo "podman without root: no network, the caller's files, status and key as they should be"
