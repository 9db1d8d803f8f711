#!/bin/sh
# The smallest OpenCL kernels in Oclgrind, which reports bad accesses, data races and API misuse: oclgrind.sh KERNELS_PROGRAM
# First a canary, a kernel that writes behind its buffer: a simulator that stays silent about it fails the test.
# Contractions are left out: Oclgrind 21.10 does not know an intrinsic (noalias.scope.decl) that its compiler emits for them.
# --uninitialized cannot be asked for: Oclgrind 21.10 gives up at LLVM's `freeze`, which its own compiler emits for remainders.
set -u
kernels=$1
command -v oclgrind >/dev/null || { echo "no oclgrind"; exit 77; }
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
passed=0 failed=0
verdict() { # verdict NAME STATUS: counts and tells
    if [ "$2" -eq 0 ]; then passed=$((passed + 1)); echo "ok $1"; else failed=$((failed + 1)); echo "FAIL $1"; cat "$folder/log"; fi
}
complaints='Invalid|[Rr]ace|FATAL|Oclgrind:|OCLGRIND|Error'

cat > "$folder/canary.cl" <<'CL'
kernel void canary(global int *x) { x[get_global_id(0) + 1] = 1; }
CL
cat > "$folder/canary.sim" <<'SIM'
canary.cl
canary
4 1 1
4 1 1
<size=16 fill=0 int>
SIM
(cd "$folder" && oclgrind-kernel canary.sim >log 2>&1)
grep -q 'Invalid write' "$folder/log"
verdict "canary: a write behind the buffer is reported" $?

# The probes of half conversion try built-ins that Oclgrind does not know, and take its refusal for an answer. That answer
# is cached, so it is asked for once before anything counts.
export XDG_CACHE_HOME="$folder"
oclgrind "$kernels" support --device opencl:0 >/dev/null 2>&1
for filter in 'softmax: 1x1' 'softmax: 5x' 'pooling: 1x1x1x1' 'sources: 1 random' control; do
    oclgrind --check-api --data-races "$kernels" test --device opencl:0 --filter "$filter" >"$folder/log" 2>&1
    status=$?
    [ $status -eq 0 ] && grep -Eq "^[1-9][0-9]* passed" "$folder/log" && ! grep -Eq "$complaints" "$folder/log"
    verdict "$filter" $?
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
