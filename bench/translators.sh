#!/usr/bin/env bash
# Compares slim with CTranslate2 and Transformers on random weights of published shapes; see
# translators.py. Needs network once, for the peers (into build/translators/venv).
set -euo pipefail
cd "$(dirname "$0")/.."
venv=build/translators/venv
if [ ! -x $venv/bin/python ]; then
  python3 -m venv $venv 2>/dev/null || { echo "python3-venv is needed for this." >&2; exit 1; }
  $venv/bin/pip install --quiet --disable-pip-version-check \
    ctranslate2==4.8.5 transformers==5.24.0 torch==2.15.0 safetensors
fi
exec $venv/bin/python bench/translators.py "$@"
