"""Runs clang-tidy over the library and the binary, as many files at a time as there are processors.

usage: run_tidy.py BUILD_FOLDER; exits 1 if a file has a finding.
"""
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys


def tidy(build: pathlib.Path, source: str) -> str:
    done = subprocess.run(["clang-tidy", "--quiet", "-p", str(build), source], capture_output=True, text=True)
    return "" if done.returncode == 0 else f"{source}\n{done.stdout}"


def main() -> None:
    build = pathlib.Path(sys.argv[1])
    root = pathlib.Path(__file__).resolve().parent.parent
    commands = json.loads((build / "compile_commands.json").read_text())
    sources = [c["file"] for c in commands
               if pathlib.Path(c["file"]).relative_to(root).parts[0] in ("src", "apps")]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        findings = [text for text in pool.map(lambda s: tidy(build, s), sources) if text]
    print("\n".join(findings) or f"clang-tidy: {len(sources)} files are clean")
    sys.exit(bool(findings))


main()
