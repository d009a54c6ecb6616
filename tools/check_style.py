"""Checks sizes, names and file headers, by the limits of CONTRIBUTING.md.

usage: check_style.py [ROOT]; prints each violation and exits 1 if there is one.
"""
import pathlib
import re
import sys

BANNED = re.compile(r"(^|_)(utils?|helpers?|managers?|common|misc)(_|\.|$)")
NAME = re.compile(r"[a-z][a-z0-9_]*\.(h|cpp|cu|cuh|py|sh)")
FUNCTION_LIMIT = 80
NESTING_LIMIT = 4
PARAMETER_LIMIT = 6


def line_limit(name: str) -> int:
    if name.startswith("src/kernels/"):
        return 700
    if name.startswith("src/models/families/"):
        return 120
    return 250 if name.endswith(".h") else 500


def strip(text: str) -> str:
    """Code without comments and literals, line structure kept."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match[0])
    return re.sub(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', blank, text, flags=re.S)


def closing(code: str, at: int, pair: str) -> int:
    """The index after the bracket that closes the one at `at`."""
    depth = 0
    while at < len(code):
        depth += (code[at] == pair[0]) - (code[at] == pair[1])
        at += 1
        if depth == 0:
            break
    return at


def functions(code: str):
    """(first line, lines, deepest nesting, parameters) of each function body, by brackets."""
    for match in re.finditer(r"([\w~>\]&*]+)\s*\(", code):
        if match[1] in ("if", "for", "while", "switch", "catch", "return", "sizeof", "requires"):
            continue
        if match[1].startswith("cublasLt"):  # under that library's names, with its parameters
            continue
        end = closing(code, match.end() - 1, "()")
        # What may stand between the parameters and the body; an initialiser list is not searched.
        tail = re.compile(r"\s*(?:const|noexcept|override|final|mutable|\s)*(?:->[^;{}()]*|:\s[^;{}]*(?:\{[^{}]*\}\s*,[^;{}]*)*)?\{").match(code, end)
        if not tail:
            continue
        parameters = code[match.end():end - 1]
        count, level = 1 if parameters.strip() else 0, 0
        for char in parameters:
            level += (char in "<([{") - (char in ">)]}")
            count += char == "," and level == 0
        body = code[tail.end() - 1:closing(code, tail.end() - 1, "{}")]
        depth = deepest = 0
        for char in body:
            depth += (char == "{") - (char == "}")
            deepest = max(deepest, depth)
        yield code.count("\n", 0, match.start()) + 1, body.count("\n") + 1, deepest - 1, count


def check(root: pathlib.Path) -> list[str]:
    problems = []
    for folder in ("include", "src", "apps", "tests", "bench", "tools"):
        for path in sorted((root / folder).rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.suffix not in (".h", ".cpp", ".cu", ".cuh", ".py", ".sh") or not path.is_file():
                continue
            if BANNED.search(path.name) or not NAME.fullmatch(path.name):
                problems.append(f"{name}: file names are snake_case nouns; utils, helper, manager, common are banned")
            if path.suffix in (".py", ".sh"):
                continue
            text = path.read_text()
            lines = text.splitlines()
            if not lines or not lines[0].startswith("//"):
                problems.append(f"{name}: starts with what it defines and why")
            if len(lines) > line_limit(name):
                problems.append(f"{name}: {len(lines)} lines, limit {line_limit(name)}")
            if folder in ("tests", "bench"):
                continue
            for line, size, nesting, parameters in functions(strip(text)):
                if size > FUNCTION_LIMIT:
                    problems.append(f"{name}:{line}: a function of {size} lines, limit {FUNCTION_LIMIT}")
                if nesting > NESTING_LIMIT:
                    problems.append(f"{name}:{line}: nesting {nesting}, limit {NESTING_LIMIT}")
                if parameters > PARAMETER_LIMIT:
                    problems.append(f"{name}:{line}: {parameters} parameters, limit {PARAMETER_LIMIT}")
            macros = re.findall(r"^\s*#\s*define\s+(\w+)", text, re.M)
            # PCRE2's header demands a definition of its code unit.
            macros = [m for m in macros if not m.startswith(("HWY_", "PCRE2_CODE_UNIT_WIDTH"))]
            if macros and "kernels/cpu" not in name:
                problems.append(f"{name}: macros {macros}; only Highway's are allowed")
            kernels = len(re.findall(r"__global__ void(?! nothing)", text))
            if kernels != text.count("  wait_for_earlier();"):
                problems.append(f"{name}: a kernel of the card that does not wait_for_earlier()")
    return problems


if __name__ == "__main__":
    found = check(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "."))
    print("\n".join(found) or "style: sizes, names and headers are within the limits")
    sys.exit(bool(found))
