#!/usr/bin/env bash
# Installs what is missing of a list of Debian packages; asks for nothing when all is there.
set -euo pipefail
command -v dpkg-query >/dev/null || { echo "No dpkg here: install by hand what $1 lists." >&2; exit 0; }
mapfile -t wanted < <(sed 's/#.*//' "$1" | awk 'NF')
missing=()
for package in "${wanted[@]}"; do
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
    missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
echo "Installing: ${missing[*]}"
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"
