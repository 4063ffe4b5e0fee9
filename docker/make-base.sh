#!/bin/sh
# Makes the base image facttune/base:bookworm with debootstrap, for a host that can reach a Debian mirror but no image registry.
# The host's CA certificates go in, so that a build behind a proxy with its own authority works. Needs root.
#   docker/make-base.sh [engine]      then: make images BASE_IMAGE=facttune/base:bookworm
set -eu
engine=${1:-docker}
command -v debootstrap >/dev/null || { echo "debootstrap is missing: apt-get install debootstrap" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
debootstrap --variant=minbase --include=ca-certificates bookworm "$folder/rootfs" >"$folder/log" 2>&1 || { tail -5 "$folder/log" >&2; exit 1; }
cat /etc/ssl/certs/ca-certificates.crt >"$folder/rootfs/etc/ssl/certs/ca-certificates.crt"
cp /etc/apt/apt.conf.d/*proxy* "$folder/rootfs/etc/apt/apt.conf.d/" 2>/dev/null || true
rm -rf "$folder"/rootfs/var/cache/apt/archives/*.deb "$folder"/rootfs/var/lib/apt/lists/*
tar -C "$folder/rootfs" -c . | "$engine" import - facttune/base:bookworm
