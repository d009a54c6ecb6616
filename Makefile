# Thin: every target is a few commands of cmake, ctest or a script.
#   make demo      transcribe real speech with slim attention and show what it saves
#   make test      build and run every test (optimised, sanitizers, fuzzers, checks)
#   make tidy      clang-tidy over the library and the binary (about five minutes)
#   make models    fetch Whisper, Moonshine base, Silero's detector and the speech clips into models/
#   make bench     compare with faster-whisper on the same audio
#   make install   install the library and the binary (PREFIX=/usr/local)
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
SLIM := build/release/slim
CLIPS := $(addprefix models/speech/sense_and_sensibility_01_austen_64kb-,0870.wav 0880.wav 0890.wav 0920.wav 0930.wav)

.PHONY: demo test bench models packages release debug tsan tidy format check install clean

demo: models release
	@echo
	@echo "== Transcription with slim attention: x and encoder rows in f16 =="
	$(SLIM) transcribe -m models/whisper-tiny.en --stats $(CLIPS)
	@echo
	@echo "== How far the logits are from standard attention in f32 =="
	$(SLIM) verify -m models/whisper-tiny.en models/speech/librivox.wav

test: check models release debug tsan
	ctest --preset release -j$(JOBS)
	ctest --preset debug -j$(JOBS)
	ctest --preset tsan -j$(JOBS)

bench: models release
	bash bench/peers.sh

# What is fetched is pinned and checksummed; with all of it there, nothing is downloaded.
models: packages
	@bash tools/fetch_models.sh models

packages:
	@bash tools/install_packages.sh packages.txt

release: packages
	cmake --preset release
	cmake --build --preset release -j$(JOBS)

debug: packages
	cmake --preset debug
	cmake --build --preset debug -j$(JOBS)

# Thread sanitizer: only the tests that run several threads.
tsan: packages
	cmake --preset tsan
	cmake --build --preset tsan -j$(JOBS) --target test_base test_audio test_text test_attention test_engine

# Style: names, sizes, layers, formatting.
check: packages
	python3 tools/check_layers.py
	python3 tools/check_style.py
	git ls-files -z '*.h' '*.cpp' '*.cu' '*.cuh' | xargs -0 clang-format --dry-run --Werror

tidy: packages
	cmake --preset tidy
	python3 tools/run_tidy.py build/tidy

format:
	git ls-files -z '*.h' '*.cpp' '*.cu' '*.cuh' | xargs -0 clang-format -i

install: release
	cmake --install build/release --prefix $(PREFIX)

clean:
	rm -rf build
