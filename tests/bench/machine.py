"""What the kernel knows of processes, and what this machine and its programs are."""
import functools
import os
import pathlib
import re
import subprocess

TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")
LIBRARIES = ("librdkafka1", "libcurl4", "libpq5", "libuv1", "libjansson4", "libphonenumber8", "libssl3")


# --- processes ---

def _stat_fields(path):
    """The fields of a stat file from the third (state) on: a name may hold spaces and parentheses."""
    return pathlib.Path(path).read_text("ascii", "replace").rpartition(")")[2].split()


def cpu_us(pid):
    """User and system time of a process with all its threads, since its start."""
    fields = _stat_fields(f"/proc/{pid}/stat")
    return (int(fields[11]) + int(fields[12])) * TICK_US


def main_thread_cpu_us(pid):
    fields = _stat_fields(f"/proc/{pid}/task/{pid}/stat")
    return (int(fields[11]) + int(fields[12])) * TICK_US


def peak_rss_bytes(pid):
    """The most that was ever resident (VmHWM)."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    return int(re.search(r"VmHWM:\s+(\d+) kB", text)[1]) * 1024


def _children(pid):
    return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()


def postgres_cpu_us(postmaster):
    """(the whole server, the backends of the role `signup`). The server counts children that have ended, too."""
    fields = _stat_fields(f"/proc/{postmaster}/stat")
    whole, backends = sum(int(field) for field in fields[11:15]) * TICK_US, 0.0
    for child in _children(postmaster):
        try:
            used = cpu_us(child)
            title = pathlib.Path(f"/proc/{child}/cmdline").read_bytes().decode("ascii", "replace")
        except (FileNotFoundError, ProcessLookupError):
            continue # it ended between the two looks; the postmaster has its time
        whole += used
        backends += used if title.startswith("postgres: signup ") else 0.0
    return whole, backends


def machine_cpu_us():
    """(busy, stolen by the hypervisor) of all cores since boot."""
    fields = pathlib.Path("/proc/stat").read_text("ascii").split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, irq, softirq, steal = (int(field) for field in fields[:8])
    return (user + nice + system + irq + softirq) * TICK_US, steal * TICK_US


# --- facts for the report ---

def _output(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip() if done.returncode == 0 else ""


@functools.cache
def build_cache(build):
    """CMakeCache.txt as a dictionary."""
    path = pathlib.Path(build, "CMakeCache.txt")
    text = path.read_text("utf-8") if path.exists() else ""
    return dict(re.findall(r"^(\w+):\w+=(.*)$", text, re.MULTILINE))


def is_sanitized(build):
    return bool(build_cache(build).get("SIGNUP_SANITIZE"))


def _cpu_model():
    text = pathlib.Path("/proc/cpuinfo").read_text("utf-8", "replace")
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return (model[1] if model else os.uname().machine) + (", virtual" if re.search(r"^flags.*\bhypervisor\b", text, re.M) else "")


def _memory():
    kib = int(re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text("ascii"))[1])
    return f"{kib / 1024 / 1024:.0f} GiB"


def _distribution():
    text = pathlib.Path("/etc/os-release").read_text("utf-8")
    return re.search(r'^PRETTY_NAME="?([^"\n]+)', text, re.MULTILINE)[1]


def library_versions():
    text = _output("dpkg-query", "-W", "-f", "${Package} ${Version}\n", *LIBRARIES)
    return ", ".join(line for line in text.splitlines() if line)


def java_version():
    found = re.search(r'version "([^"]+)"', _output("java", "-version"))
    return f"Java {found[1]}" if found else "Java"


def compiler(build):
    cache = build_cache(build)
    line = _output(cache.get("CMAKE_C_COMPILER", "cc"), "--version").split("\n", 1)[0]
    return f"{line}, {cache.get('CMAKE_BUILD_TYPE', 'unknown build type')}"


def describe(data_folder):
    """[(what, text)] of the machine; `data_folder` is on the disk that the servers write to."""
    file_system = _output("findmnt", "-n", "-o", "FSTYPE", "--target", data_folder) or "an unknown file system"
    return [
        ("cores", f"{os.cpu_count()}, {_cpu_model()}"),
        ("memory", _memory()),
        ("system", f"{_distribution()}, Linux {os.uname().release} {os.uname().machine}, data on {file_system}"),
    ]
