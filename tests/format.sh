#!/bin/sh
# format.sh: every C source is laid out as .clang-format says; 77 where clang-format 14 is not there, since others lay out
# otherwise.
set -eu
cd "$(dirname -- "$0")/.."
if ! command -v clang-format-14 >/dev/null; then
    echo "format: skipped: no clang-format-14 (tools/install check)"
    exit 77
fi
find apps backends check engine include tests -name '*.[ch]' -exec clang-format-14 --dry-run -Werror {} +
