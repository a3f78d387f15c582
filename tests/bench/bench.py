"""The command tests/bench/run: installs, builds, measures what it is asked for, prints it, and writes it to README.md if told to."""
import argparse
import os
import pathlib
import shlex
import signal
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SCENARIOS = ("cleartext", "tls", "shapes", "gate", "latency", "outage", "sim", "stages")
PROGRAMS = ("signup-worker", "contacts-sim", "contacts-sim-load", "kafka-tool", "sim-run")
EX_USAGE, EX_UNAVAILABLE = 64, 69

ABOUT = """\
Measures the worker against a private Apache Kafka, a private PostgreSQL and the contacts simulator, all on
this machine, and prints medians. Nothing is left running. About a quarter of an hour, in which nothing else should run."""
MORE = """\
scenarios:
  cleartext   a backlog drained, single upserts over HTTP/1.1
  tls         the same over TLS
  shapes      the same signups in another shape, mapped, routed, attributed, with consent: what that costs more
  gate        the same with validation.mode gate, every phone known: no call, and what it costs
  latency     every answer of the API takes 50 ms, 256 calls in flight: how near the ceiling of 5,120/s
  outage      a million events queued while the API refuses everything for half a minute, then takes it again
  sim         seeds per second of the simulation
  stages      the contacts simulator alone: how far it is from being the bottleneck

environment:
  SIGNUP_BUILD   a build folder with the programs; otherwise build/bench is built, as a release
  SIGNUP_CACHE   where the broker's jars are kept (~/.cache/signup-worker)
  TMPDIR         where the servers keep their data (/tmp): its disk is part of what is measured

examples:
  tests/bench/run --write
  tests/bench/run --runs 1 --events 20000 --only cleartext,tls

exit codes: 0 measured, however slow; 1 an event was lost, doubled or refused; 64 usage; 69 no broker or no packages"""


def positive(text):
    value = int(text.replace(",", "").replace("_", ""))
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def scenario_list(text):
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown) or 'nothing named'}; there are {', '.join(SCENARIOS)}")
    return [name for name in SCENARIOS if name in names]


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.print_usage(sys.stderr)
        self.exit(EX_USAGE, f"tests/bench/run: {message}\n")


def parse_arguments():
    parser = Parser(prog="tests/bench/run", description=ABOUT, epilog=MORE, allow_abbrev=False,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=positive, default=5, metavar="N", help="of each scenario (5)")
    parser.add_argument("--events", type=positive, default=200000, metavar="N",
                        help="in the backlog (200000); the scenario latency takes 60,000 of them at most")
    parser.add_argument("--seeds", type=positive, default=2000, metavar="N", help="of a run of the simulation (2000)")
    parser.add_argument("--only", type=scenario_list, default=list(SCENARIOS), metavar="LIST",
                        help="of the scenarios below, comma-separated")
    parser.add_argument("--write", action="store_true", help="put the figures into tests/bench/README.md")
    return parser.parse_args()


def run_logged(what, command, log):
    """Runs a step whose output matters only when it fails."""
    print(f"{what} …", flush=True)
    with open(log, "ab") as output:
        status = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                check=False).returncode
    if status != 0:
        sys.stderr.write("".join(f"  | {line}\n" for line in log.read_text("utf-8", "replace").splitlines()[-30:]))
        sys.exit(f"tests/bench/run: {what}: exit {status}, whole output: {log}")


def prepare_build(folder):
    """The folder with the programs: SIGNUP_BUILD as it is, or a release built in build/bench. Sets SIGNUP_BUILD."""
    build = os.environ.get("SIGNUP_BUILD")
    if not build:
        build = ROOT / "build" / "bench"
        log = folder / "build.log"
        run_logged("configuring build/bench", ["cmake", "-S", ROOT, "-B", build, "-G", "Ninja", "-DSIGNUP_TESTS=ON",
                                               "-DCMAKE_BUILD_TYPE=RelWithDebInfo", "-DSIGNUP_SANITIZE="], log)
        run_logged("building build/bench", ["cmake", "--build", build, "-j", os.cpu_count(), "--target", *PROGRAMS], log)
    build = pathlib.Path(build).resolve()
    missing = [name for name in PROGRAMS if not os.access(build / name, os.X_OK)]
    if missing:
        print(f"tests/bench/run: {build} has no {', '.join(missing)}", file=sys.stderr)
        sys.exit(EX_USAGE)
    os.environ["SIGNUP_BUILD"] = str(build)
    return build


def install_packages():
    if subprocess.run([HERE.parent / "harness" / "packages.sh", "test"], check=False).returncode != 0:
        print("tests/bench/run: the packages could not be installed", file=sys.stderr)
        sys.exit(EX_UNAVAILABLE)


def measure(options, folder):
    """Runs the scenarios; returns (facts about the machine and the programs, results, complaints)."""
    build = prepare_build(folder)
    sys.path.insert(0, str(HERE.parent / "harness"))
    # Only now: they need packages that may have been installed a moment ago.
    import machine
    import scenarios
    from signup_harness import BrokerUnavailable

    if machine.is_sanitized(build):
        print(f"tests/bench/run: {build} is built with sanitizers: its figures would say nothing", file=sys.stderr)
        sys.exit(EX_USAGE)
    try:
        return scenarios.run_all(options, folder)
    except BrokerUnavailable as why:
        print(f"tests/bench/run: Apache Kafka cannot be had, and its stand-in would not be a measure: {why}", file=sys.stderr)
        sys.exit(EX_UNAVAILABLE)


def stop(number, _frame):
    """Leaves through every `finally`; whoever asks again waits for that."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def main():
    options = parse_arguments()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    install_packages()
    import shutil
    import tempfile
    import report
    folder = pathlib.Path(tempfile.mkdtemp(prefix="signup-bench-"))
    folder.chmod(0o711) # started by root, PostgreSQL runs as another user, and its data belong here, too
    keep = True
    try:
        facts, results, complaints = measure(options, folder)
        report.show(results)
        for complaint in complaints:
            print(f"WRONG: {complaint}", file=sys.stderr)
        keep = bool(complaints)
        if complaints:
            return 1
        if options.write:
            command = shlex.join(["tests/bench/run", *sys.argv[1:]])
            report.write(HERE / "README.md", command, facts, results)
            print("written to tests/bench/README.md")
        return 0
    except (AssertionError, RuntimeError) as failure: # of a server, of the worker, or of a wait for them
        print(f"tests/bench/run: {failure}", file=sys.stderr)
        return 1
    except SystemExit as end:
        keep = not isinstance(end.code, int) # a step's log is wanted; a signal's or a bad option's is not
        raise
    finally:
        if keep:
            print(f"The logs are kept in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
