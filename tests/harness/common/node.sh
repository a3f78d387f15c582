# What kafka-node and postgres-node share: options, ports, processes that outlive the script, owners.
# Sourced by bash; the caller sets `node_name` and uses `set -eu`.

say() { printf '%s: %s\n' "$node_name" "$*" >&2; }
die() { local code=$1; shift; say "$*"; exit "$code"; }

EX_USAGE=64
EX_UNAVAILABLE=69
EX_SOFTWARE=70

now_ms() { local t=${EPOCHREALTIME/[.,]/}; echo $((t / 1000)); }

# True when something listens on, or is connected from, the loopback port: read from the kernel's own
# table, so that no tool is needed for it.
port_is_taken() {
    local hex
    printf -v hex ':%04X' "$1"
    awk -v port="$hex\$" 'FNR > 1 && $2 ~ port { found = 1; exit } END { exit !found }' \
        /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

# One file for each port, for all processes of this machine: false where it was given away a moment ago and may not be bound yet. The tests'
# own processes keep the same files (signup_harness/waiting.py).
reserve_port() {
    local folder=${TMPDIR:-/tmp}/signup-ports-$UID
    mkdir -p -m 700 "$folder"
    find "$folder/$1" -mmin +5 -delete 2>/dev/null || true
    (set -o noclobber && : >"$folder/$1") 2>/dev/null
}

# Prints a port nobody uses, below the kernel's ephemeral range so that no outgoing connection takes it
# between now and the server's bind. Another script may still: callers retry when bind fails.
free_port() {
    local port tries=0
    while :; do
        port=$((20000 + SRANDOM % 12000))
        if ! port_is_taken "$port" && reserve_port "$port"; then echo "$port"; return; fi
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || die $EX_UNAVAILABLE "no free port between 20000 and 32000"
    done
}

# process_matches PID WORD: the process lives (a zombie does not) and WORD stands in its command line.
# A pid file alone is not trusted: after a reboot the number belongs to somebody else.
process_matches() {
    local pid=$1 word=$2 state
    [ -n "$pid" ] && [ -r "/proc/$pid/stat" ] || return 1
    state=$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -c1) || return 1
    [ "$state" != Z ] && [ -n "$state" ] || return 1
    tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "$word"
}

# wait_gone PID WORD TIMEOUT_S: waits until the process is gone; 1 when it is still there in the end.
wait_gone() {
    local pid=$1 word=$2 deadline=$(($(now_ms) + $3 * 1000))
    while process_matches "$pid" "$word"; do
        [ "$(now_ms)" -lt "$deadline" ] || return 1
        pause_ms 20
    done
}

# wait_reaped PID TIMEOUT_S: waits until even the zombie is gone; 1 when it stays.
wait_reaped() {
    local deadline=$(($(now_ms) + $2 * 1000))
    while [ -e "/proc/$1" ]; do
        [ "$(now_ms)" -lt "$deadline" ] || return 1
        pause_ms 10
    done
}

# The poll interval of the waits, without a process of its own: read from a pipe nobody writes to.
pause_ms() {
    local seconds
    printf -v seconds '%d.%03d' $(($1 / 1000)) $(($1 % 1000))
    if [ -z "${pause_fd:-}" ]; then exec {pause_fd}<> <(:); fi
    read -r -t "$seconds" -u "$pause_fd" || true
}

# owner_watch DIR OWNER_PID SCRIPT: a process of its own that kills the node once OWNER_PID is gone, so
# that a test runner that died by kill -9 leaves no server behind. One per DIR.
owner_watch() {
    local dir=$1 owner=$2 script=$3
    if [ -r "$dir/owner.pid" ] && process_matches "$(cat "$dir/owner.pid")" "owner_of:$dir"; then return; fi
    setsid bash -c 'tail --pid="$1" -f /dev/null; exec "$2" kill --dir "$3"' \
        "owner_of:$dir" "$owner" "$script" "$dir" </dev/null >/dev/null 2>&1 &
    echo $! >"$dir/owner.pid"
}

owner_unwatch() {
    local dir=$1 pid
    [ -r "$dir/owner.pid" ] || return 0
    pid=$(cat "$dir/owner.pid")
    rm -f "$dir/owner.pid"
    # Its whole group: the shell and the `tail` that waits for the owner.
    if process_matches "$pid" "owner_of:$dir"; then kill -- "-$pid" 2>/dev/null || true; fi
}
