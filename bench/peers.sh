#!/usr/bin/env bash
# Compares slim with faster-whisper on the same audio, weights and settings; see peers.py.
# Needs network once, for faster-whisper (into build/peers).
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -x build/peers/bin/python ]; then
  python3 -m venv build/peers 2>/dev/null || { echo "python3-venv is needed for this." >&2; exit 1; }
  build/peers/bin/pip install --quiet --disable-pip-version-check faster-whisper==1.2.1
fi
exec build/peers/bin/python bench/peers.py "$@"
