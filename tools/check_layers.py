"""Checks who includes whom, by the table of docs/architecture.md.

A file of src/<module> may include its own module, the modules listed for it, and include/slim/error.h
(every layer throws Error); only src/engine sees include/slim/slim.h. Apps see include/slim alone. Some libraries belong to one place.
usage: check_layers.py [ROOT]; prints each violation and exits 1 if there is one.
"""
import pathlib
import re
import sys

ALLOWED = {
    "base": [],
    "tensor": ["base"],
    "kernels": ["base", "tensor"],
    "weights": ["base", "tensor"],
    "transforms": ["base", "tensor", "kernels"],
    "text": ["base"],
    "audio": ["base"],
    "attention": ["base", "tensor", "kernels", "transforms"],
    "models": ["base", "tensor", "kernels", "weights", "attention", "transforms"],
    "engine": ["base", "tensor", "kernels", "weights", "transforms", "attention", "models", "text", "audio"],
}
# Header pattern -> the only folders that may include it.
OWNED = {
    r"hwy/": ["src/kernels/cpu"],
    r"cuda|cublas|cudnn": ["src/kernels/cuda"],
    r"lapacke": ["src/transforms"],
    r"sndfile|soxr|mpg123|kiss": ["src/audio"],
    r"pcre2|utf8proc": ["src/text"],
    r"CLI/": ["apps/cli"],
    r"nlohmann/": ["src/base", "src/text", "src/weights", "apps"],
}
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.M)


def check(root: pathlib.Path) -> list[str]:
    problems = []
    for path in sorted([*root.glob("src/**/*"), *root.glob("apps/**/*")]):
        if path.suffix not in (".h", ".cpp", ".cu", ".cuh"):
            continue
        name = path.relative_to(root).as_posix()
        text = path.read_text()
        for kind, header in INCLUDE.findall(text):
            top = header.split("/")[0]
            if name.startswith("src/"):
                module = name.split("/")[1]
                if module not in ALLOWED:
                    problems.append(f"{name}: module {module} is not in the table")
                    continue
                if top in ALLOWED and top != module and top not in ALLOWED[module]:
                    problems.append(f"{name}: {module} may not include {header}")
                if header == "slim/slim.h" and module != "engine":
                    problems.append(f"{name}: only engine sees {header}")
            elif top in ALLOWED:
                problems.append(f"{name}: apps see include/slim only, not {header}")
            for pattern, owners in OWNED.items():
                if re.match(pattern, header) and not any(name.startswith(o + "/") for o in owners):
                    problems.append(f"{name}: {header} belongs to {', '.join(owners)}")
        if name.startswith("src/") and re.search(r"\bgetenv\b|\bstd::abort\b|\bstd::exit\b|\bstd::cout\b|\bstd::cerr\b|\bprintf\(", text):
            problems.append(f"{name}: the library never prints, aborts, exits or reads the environment")
    families = [p.stem for p in root.glob("src/models/families/*.cpp")]
    for path in sorted(root.glob("src/**/*.[ch]*")):
        name = path.relative_to(root).as_posix()
        if name.startswith("src/models/families/") or path.name == "family.cpp":
            continue
        # Its names are those that GGUF files give their vocabularies.
        if path.stem == "gguf_vocabulary":
            continue
        code = re.sub(r"//.*", "", path.read_text())
        for family in families:
            if re.search(rf"\b{family}\b", code, re.I):
                problems.append(f"{name}: the family name '{family}' outside models/families")
    return problems


if __name__ == "__main__":
    found = check(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "."))
    print("\n".join(found) or "layers: all includes obey the table")
    sys.exit(bool(found))
