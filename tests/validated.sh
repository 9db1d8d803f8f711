#!/bin/sh
# validated.sh PROGRAM [ARGUMENT]...: runs it under the validation layers that the environment asks for; fails if they object.
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
"$@" 2>"$log"
status=$?
cat "$log" >&2
if grep -q 'binade: vulkan message' "$log"; then
    echo "FAIL: the validation layers object; see stderr"
    exit 1
fi
exit $status
