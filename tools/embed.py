#!/usr/bin/env python3
"""Writes a C file that holds text files (kernel skeletons) as strings: embed.py SOURCE_ROOT OUTPUT.c INPUT...

A text is found by its path from SOURCE_ROOT, through bd_embedded_text() of engine/embedded.h. A line "//@include PATH" in it, also
from SOURCE_ROOT, is replaced by that text."""
import os
import re
import sys


def read(source_root, path):
    """The text, with what it includes."""
    with open(path, "rb") as file:
        text = file.read()
    # Some drivers' compilers refuse other bytes even inside comments.
    for number, line in enumerate(text.split(b"\n"), 1):
        if any(byte >= 127 or (byte < 32 and byte != 9) for byte in line):
            sys.exit(f"{path}:{number}: a kernel's source must be plain ASCII")
    included = lambda mark: read(source_root, os.path.join(source_root, mark.group(1).decode("ascii")))
    return re.sub(rb"//@include (\S+)", included, text)


def c_array(text):
    # Numbers, not a string literal: C compilers need not take literals longer than 4,095 characters.
    data = list(text) + [0]
    lines = (", ".join(map(str, data[i : i + 24])) for i in range(0, len(data), 24))
    return ",\n    ".join(lines)


def main(source_root, output, inputs):
    texts = []
    for path in inputs:
        name = os.path.relpath(os.path.abspath(path), source_root).replace(os.sep, "/")
        texts.append((name, read(source_root, path)))
    texts.sort()
    with open(output, "w", encoding="ascii") as file:
        file.write("/* Written by tools/embed.py: the kernel skeletons as strings. */\n")
        file.write('#include "engine/embedded.h"\n\n#include <string.h>\n\n')
        for index, (name, text) in enumerate(texts):
            file.write(f"static const char text_{index}[] = {{ /* {name} */\n    {c_array(text)}\n}};\n")
        file.write("\nconst char *bd_embedded_text(const char *name)\n{\n")
        for index, (name, _) in enumerate(texts):
            file.write(f'    if (strcmp(name, "{name}") == 0)\n        return text_{index};\n')
        file.write("    return NULL;\n}\n")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(os.path.abspath(sys.argv[1]), sys.argv[2], sys.argv[3:])
