#!/bin/sh
# Makes a virtual environment from a hashed lock: install.sh FOLDER LOCK UV_LOCK. Used while an image is built.
# Proxies and mirrors come from the builder's environment (HTTPS_PROXY, UV_INDEX_URL, …), never from a file in the image.
set -eu
folder=$1 lock=$2 uv_lock=$3
# Compiled once, here: every stage is a process of its own. By hash, so that an image's files do not depend on the time of day.
export PYC_INVALIDATION_MODE=UNCHECKED_HASH
export SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt

python3.11 -m venv /tmp/uv
/tmp/uv/bin/python -m pip install --quiet --no-cache-dir --require-hashes --only-binary :all: -r "$uv_lock"
/tmp/uv/bin/uv venv --quiet --no-project --python /usr/bin/python3.11 "$folder"
install="/tmp/uv/bin/uv pip install --quiet --no-cache --require-hashes --no-deps --compile-bytecode --python $folder/bin/python"

# DeepSpeed is a source package; what builds it is in the lock and goes in first.
awk '/^[^ #]/ { skip = /^deepspeed==/ } !skip' "$lock" > /tmp/without-source.txt
$install --only-binary :all: -r /tmp/without-source.txt
if ! cmp -s "$lock" /tmp/without-source.txt; then
    PATH="$folder/bin:$PATH" DS_BUILD_OPS=0 $install --no-build-isolation -r "$lock"
fi
# Debian's packages come without hashes and move on with the mirror: what this image got, so that two images can be compared.
dpkg-query --show >"$folder/debian-packages.txt"
rm -rf /tmp/uv /tmp/without-source.txt "$lock" "$uv_lock" "$0"
