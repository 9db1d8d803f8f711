#!/usr/bin/env python3
"""Compiles kernel skeletons with glslangValidator as they stand, so that a broken one breaks the build:
check_shaders.py VALIDATOR STAMP PRELUDE SKELETON...

Each skeleton is put behind the prelude, as the printer does, once for each kind of device that the prelude knows."""
import itertools
import os
import re
import subprocess
import sys

import embed

SWITCHES = {
    "BD_HALF_STORAGE": (0, 1),
    "BD_HALF_CONVERSION": (0, 1),
    "BD_HALF_ARITHMETIC": (0, 1),
    "BD_FLOAT16": (0, 1),
    "BD_HALF_ROUND": (0, 1, 2),
}


def devices():
    """Every setting of the switches that a device can have."""
    for values in itertools.product(*SWITCHES.values()):
        device = dict(zip(SWITCHES, values))
        if device["BD_HALF_ROUND"] == 1 and not device["BD_FLOAT16"]:
            continue
        if device["BD_HALF_ROUND"] and not device["BD_HALF_CONVERSION"]:
            continue
        if device["BD_HALF_ARITHMETIC"] and not (device["BD_FLOAT16"] and device["BD_HALF_CONVERSION"]):
            continue
        yield device


# Skeletons with cooperative matrices: BD_MATRIX, and the first glslang that knows their extension.
MATRICES = {
    "attention_matrix.comp": (1, (13, 0)),
    "contraction_matrix.comp": (1, (13, 0)),
    "contraction_matrix2.comp": (2, (15, 1)),
    "probe_codes.comp": (1, (13, 0)),
    "probe_matrix.comp": (2, (15, 1)),
}


def version_of(validator):
    version = subprocess.run([validator, "--version"], stdout=subprocess.PIPE, text=True, check=False).stdout
    found = re.search(r"Glslang Version: \d+:(\d+)\.(\d+)", version)
    return tuple(map(int, found.groups())) if found else (0, 0)


def read(path):
    return embed.read(os.path.dirname(os.path.dirname(os.path.abspath(path))), path).decode("ascii")


# Of several matrices in one declaration glslang 13 forgets what all but the first are used as: an error, or SPIR-V that is none.
SEVERAL_MATRICES = re.compile(r"^\s*(?:coopmat<[^;()]*>|LEFT|RIGHT|SUM) \w+(?: = [^;]*?\))?,.*", re.MULTILINE)


def compile_text(validator, text, target):
    command = [validator, "--stdin", "-S", "comp", "--target-env", target, "-V", "-o", "/dev/null"]
    return subprocess.run(command, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def main(validator, stamp, prelude, *skeletons):
    failed = False
    version = version_of(validator)
    for path in (prelude, *skeletons):
        for several in SEVERAL_MATRICES.findall(read(path)):
            failed = True
            print(f"{path}: one matrix a declaration, or glslang 13 gets the others wrong:{several.rstrip()}")
        matrix, needed = MATRICES.get(os.path.basename(path), (0, (0, 0)))
        for device, bf16 in itertools.product(devices(), (0, 1) if matrix else (0,)):
            if matrix and not (version >= needed and device["BD_FLOAT16"] and device["BD_HALF_STORAGE"]):
                continue
            settings = "".join(f"#define {name} {value}\n" for name, value in device.items())
            settings += f"#define BD_MATRIX {matrix}\n#define MATRIX_BF16 {bf16}\n"
            # #line makes the messages' line numbers those of the skeleton.
            body = "void main() {}\n" if path == prelude else "#line 1\n" + read(path)
            text = "#version 450\n" + settings + "#line 1\n" + read(prelude) + body
            result = compile_text(validator, text, "vulkan1.3" if matrix else "vulkan1.1")
            if result.returncode != 0:
                failed = True
                print(f"{path} (or the prelude) does not compile with", ", ".join(settings.splitlines()))
                print(result.stdout)
                break
    if failed:
        sys.exit(1)
    with open(stamp, "w", encoding="ascii"):
        pass


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
