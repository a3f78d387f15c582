#!/bin/sh
# Installs the Debian 12 packages that building, demonstrating or testing needs, and nothing else.
#
# It runs on machines of strangers, so it is a guest there: no recommended packages, no service is
# started or enabled by it, no default PostgreSQL cluster appears, and what it has to arrange for
# that is put back even when the installation fails. With everything installed it is a no-op that
# neither needs root nor touches the network.
set -eu

usage() {
    cat <<'USAGE'
usage: packages.sh build|quickstart|test [--list]

  build        what compiling the product needs
  quickstart   build, and the servers of the demonstration (Java and Maven for Apache Kafka, PostgreSQL)
  test         quickstart, and what the test suites need
  --list       print the package names of that set, one per line, and change nothing
USAGE
}

build_packages="cmake ninja-build pkg-config gcc g++ librdkafka-dev libcurl4-openssl-dev libjansson-dev
    libpq-dev libuv1-dev libphonenumber-dev libyaml-dev uthash-dev libmicrohttpd-dev libssl-dev"
quickstart_packages="libhttp-parser-dev postgresql maven default-jre-headless openssl curl ca-certificates
    procps util-linux"
test_packages="libcmocka-dev clang clang-tidy libclang-rt-14-dev valgrind prometheus python3
    python3-pytest python3-pytest-xdist python3-psycopg2 python3-jsonschema python3-confluent-kafka git faketime pgbouncer"

say() { printf 'packages: %s\n' "$*" >&2; }
die() { say "$*"; exit 69; }

packages_of() {
    case "$1" in
    build) echo $build_packages ;;
    quickstart) echo $build_packages $quickstart_packages ;;
    test) echo $build_packages $quickstart_packages $test_packages ;;
    *) usage >&2; exit 64 ;;
    esac
}

# Prints those of its arguments that are not installed. Packages that dpkg has never heard of make
# dpkg-query complain and fail, which is the same answer.
missing_of() {
    installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null |
        awk '$2 == "installed" { print $1 }' || true)
    for package in "$@"; do
        printf '%s\n' "$installed" | grep -qxF "$package" || echo "$package"
    done
}

is_installed() { [ -z "$(missing_of "$1")" ]; }

# --- guards: run as root, between guard_set and guard_restore -------------------------------------

policy=/usr/sbin/policy-rc.d
policy_saved=/usr/sbin/policy-rc.d.before-signup
cluster_guard=/etc/postgresql-common/createcluster.d/signup-no-main-cluster.conf

# Services of packages that are installed now must not start; everybody else's (an upgrade of
# something on the way) is decided by the machine's own policy, or allowed where it has none.
guard_services() {
    cat >"$policy.signup-new" <<POLICY
#!/bin/sh
# signup: temporary guard of an installation, removed at its end
case "\$1" in
postgresql*|prometheus*|pgbouncer*) exit 101 ;;
esac
[ ! -x $policy_saved ] || exec $policy_saved "\$@"
exit 0
POLICY
    chmod 755 "$policy.signup-new"
    if [ -e "$policy" ] || [ -L "$policy" ]; then mv -f "$policy" "$policy_saved"; fi
    mv -f "$policy.signup-new" "$policy"
}

guard_restore() {
    rm -f "$cluster_guard"
    # The folder is ours only when the package that owns it never came.
    is_installed postgresql-common || rmdir /etc/postgresql-common/createcluster.d /etc/postgresql-common 2>/dev/null || true
    if grep -qs '^# signup: temporary guard' "$policy"; then
        rm -f "$policy"
    fi
    if [ -e "$policy_saved" ] || [ -L "$policy_saved" ]; then mv -f "$policy_saved" "$policy"; fi
}

guard_main_cluster() {
    mkdir -p "$(dirname "$cluster_guard")"
    echo "create_main_cluster = false" >"$cluster_guard"
}

# The guard keeps a service from starting now; this keeps it from starting at the next boot.
# postgresql.service stays as it is: without a cluster it starts nothing.
disable_new() { # service
    if [ -d /run/systemd/system ] || command -v systemctl >/dev/null 2>&1; then
        systemctl --no-reload disable "$1.service" >/dev/null 2>&1 || true
    fi
    if [ -x /usr/sbin/update-rc.d ] && [ -e "/etc/init.d/$1" ]; then
        update-rc.d "$1" disable >/dev/null 2>&1 || true
    fi
}

install_as_root() {
    export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
    log=$(mktemp "${TMPDIR:-/tmp}/signup-packages.XXXXXX")
    apt_options="-y --no-install-recommends -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"

    had_prometheus=no; is_installed prometheus && had_prometheus=yes
    had_pgbouncer=no; is_installed pgbouncer && had_pgbouncer=yes
    had_postgresql=no
    dpkg-query -W -f '${db:Status-Status}\n' 'postgresql-[0-9]*' 2>/dev/null | grep -qx installed && had_postgresql=yes

    guard_restore # what a killed run left behind
    trap 'guard_restore' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    guard_services
    [ "$had_postgresql" = yes ] || guard_main_cluster

    say "installing $# packages: $*"
    # shellcheck disable=SC2086 # the options are words
    if ! apt-get $apt_options install "$@" >"$log" 2>&1; then
        say "the package lists may be old: apt-get update"
        apt-get -q -o DPkg::Lock::Timeout=300 update >>"$log" 2>&1 ||
            say "apt-get update failed; trying with the lists that are here"
        # shellcheck disable=SC2086
        if ! apt-get $apt_options install "$@" >>"$log" 2>&1; then
            grep -E '^(E|W|Err):|^(E|W): ' "$log" | tail -n 12 >&2 || tail -n 20 "$log" >&2
            die "apt-get could not install them; whole output: $log"
        fi
    fi
    [ "$had_prometheus" = yes ] || ! is_installed prometheus || disable_new prometheus
    [ "$had_pgbouncer" = yes ] || ! is_installed pgbouncer || disable_new pgbouncer
    rm -f "$log"
}

# --- what the caller sees --------------------------------------------------------------------------

[ $# -ge 1 ] || { usage >&2; exit 64; }
case "$1" in -h | --help) usage; exit 0 ;; esac

if [ "$1" = "--install-as-root" ]; then # our own second half, through sudo
    shift
    [ "$(id -u)" -eq 0 ] || die "not root"
    install_as_root "$@"
    exit 0
fi

set_name=$1
packages=$(packages_of "$set_name")
if [ "${2:-}" = "--list" ]; then
    printf '%s\n' $packages
    exit 0
fi
[ $# -eq 1 ] || { usage >&2; exit 64; }

command -v dpkg-query >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1 ||
    die "this machine has no apt-get; install by hand what \`$0 $set_name --list\` prints"

# shellcheck disable=SC2086 # package names are words
missing=$(missing_of $packages)
[ -n "$missing" ] || exit 0

# shellcheck disable=SC2086
if [ "$(id -u)" -eq 0 ]; then
    install_as_root $missing
elif command -v sudo >/dev/null 2>&1 && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    say "asking sudo for root to install packages"
    sudo /bin/sh "$0" --install-as-root $missing
else
    die "root is needed once, as root run: apt-get install --no-install-recommends" $missing
fi

# shellcheck disable=SC2086
missing=$(missing_of $packages)
[ -z "$missing" ] || die "still missing after the installation:" $missing
say "done"
