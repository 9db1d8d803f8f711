# common.sh: sourced by the programs of this folder; needs `tool` (the program's name) and `logs` (a folder) set.

now() { date +%s; }

# step LABEL LOG COMMAND...: runs a command quietly, its output appended to $logs/LOG, and prints one line with the
# seconds it took. Where it fails, names the log, shows its end, and returns the command's status.
step() {
    step_label=$1 step_log=$logs/$2.log step_from=$(now) step_status=0
    shift 2
    mkdir -p "$logs"
    printf '%-44s' "$step_label"
    printf '\n== %s: %s\n' "$step_label" "$*" >>"$step_log"
    "$@" >>"$step_log" 2>&1 </dev/null || step_status=$?
    if [ "$step_status" = 0 ]; then
        printf '%5d s\n' $(($(now) - step_from))
    else
        printf '%5d s  failed\n' $(($(now) - step_from))
        echo "$tool: '$step_label' failed with status $step_status; the end of $step_log:" >&2
        tail -n 40 "$step_log" | sed 's/^/    /' >&2
    fi
    return "$step_status"
}
