"""Programs of the project: where they are, how to start one so that it dies with its test, how to see its end."""
import os
import pathlib
import shutil
import subprocess

HARNESS_DIR = pathlib.Path(__file__).resolve().parent.parent
SOURCE_DIR = HARNESS_DIR.parent.parent


def find_binary(name):
    """The built program `name` in the folder that SIGNUP_BUILD names."""
    build = os.environ.get("SIGNUP_BUILD")
    if not build:
        raise RuntimeError("SIGNUP_BUILD does not name the build folder")
    for folder in ("", "bin", f"tests/harness/{name}", name):
        path = pathlib.Path(build, folder, name)
        if path.is_file() and os.access(path, os.X_OK):
            return path.resolve()
    raise RuntimeError(f"{name} is not built in SIGNUP_BUILD={build}")


def clean_environment(extra=None):
    """This process's environment without what would configure a worker or lead a client astray."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("SIGNUP_", "PG")) and not name.lower().endswith("_proxy")}
    kept.update(extra or {})
    return kept


def spawn(command, log_path, environment=None, folder=None):
    """Starts `command` with both outputs appended to `log_path`; it is killed when this process dies."""
    setpriv = shutil.which("setpriv")
    prefix = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
    with open(log_path, "ab") as log:
        return subprocess.Popen([*prefix, *map(str, command)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                env=clean_environment() if environment is None else environment, cwd=folder)


def run_script(script, *arguments, timeout=180, check=True):
    """Runs one of the harness's scripts; its standard error goes to the test's, its output is returned.

    Servers that the script leaves behind keep its descriptors, so the output goes to files rather than to pipes.
    """
    import tempfile
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        status = subprocess.run([str(script), *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                timeout=timeout, check=False).returncode
        out.seek(0)
        err.seek(0)
        output, errors = out.read().strip(), err.read().strip()
    if check and status != 0:
        raise ScriptFailed(f"{script.name} {' '.join(map(str, arguments))}: exit {status}\n{errors}", status)
    return output


class ScriptFailed(RuntimeError):
    """A script of the harness failed; `status` is its exit status, the message its standard error."""

    def __init__(self, message, status):
        super().__init__(message)
        self.status = status


def tail(path, lines=60):
    """The last lines of a file, or why there are none."""
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 400 * lines))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
    except OSError as error:
        return f"({error})"


def control_line(socket_path, command, timeout=10):
    """Says one command to a control socket and returns the answer without its `ok`; an error raises."""
    import socket
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(timeout)
        client.connect(str(socket_path))
        client.sendall(command.encode() + b"\n")
        answer = client.makefile("r").readline().strip()
    if not answer.startswith("ok"):
        raise RuntimeError(f"{command}: {answer or 'no answer'}")
    return answer[2:].strip()
