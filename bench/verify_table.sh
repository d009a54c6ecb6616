#!/usr/bin/env bash
# Prints `slim verify` for every cache and row type on the joined LibriVox clips, as Markdown: the
# table of docs/measurements.md.
set -euo pipefail
cd "$(dirname "$0")/.."
for name in whisper-tiny.en whisper-base; do
  echo "| $name | KL mean | KL max | top-1 | context |"
  echo "|---|---|---|---|---|"
  for choice in "kv f16" "kv bf16" "kv i8" "x f32" "x f16" "x i16" "x bf16" "x i8" "k f32" "k f16" "k bf16"; do
    read -r cache type <<<"$choice"
    build/release/slim verify -m "models/$name" models/speech/librivox.wav --language en \
      --cache "$cache" --cache-type "$type" --force-cache --json |
      python3 bench/verify_row.py "$choice"
  done
done
