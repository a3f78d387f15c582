"""What the chaos scenarios found, as lines of JSON, and the tables of README.md made from them: no figure is written by hand.

A scenario says what it did with row() (or record()), under the number of its fault; figure() is a line of the second
table. Both append to the file that SIGNUP_CHAOS_RESULTS names, where there is one. `run --write` lays the results of
that run over results.json (a row that was run replaces all that was known of it) and writes the tables anew.

    with row(47, "key revoked and rotated under load", how="simulator forgets the key", broker=broker) as found:
        ...
        found.recovery(3.2, within=5)
        found.note("0 of 20,000 dead")
"""
import contextlib
import fcntl
import json
import os
import pathlib
import time

FOLDER = pathlib.Path(__file__).resolve().parent
STORE = FOLDER / "results.json"
README = FOLDER / "README.md"
PASSED, FAILED, NOT_HERE = "pass", "FAIL", "not here"
RESULTS = (PASSED, FAILED, NOT_HERE)
CLAIMS = ("kill -9 points in one proof", "duplicates tolerated", "rebalance chaos",
          "recovery after broker, PostgreSQL, API return",
          "crash to rescue of parked work", "shutdown", "memory", "soak", "failure sweep", "parser")
SECTIONS = ((range(1, 12), "The worker's process"), (range(12, 26), "Kafka"), (range(26, 36), "PostgreSQL"),
            (range(36, 53), "The contacts API and the way to it"), (range(53, 55), "The machine's surroundings"),
            (range(55, 64), "Dead letters and what is on the topic"),
            (range(64, 74), "Ending, running short, everything at once"))


def record(number, fault, how, broker, result, recovery_s=None, note=""):
    """One line of the table. `number` is that of faults.md; `broker` the one it ran on, or a word for it ("real", "mock",
    "-" where none was needed); `result` one of PASSED, FAILED, NOT_HERE (then `note` says why); `recovery_s` the worst
    seen. A number may have several lines, each with its own `fault`."""
    assert result in RESULTS and isinstance(number, int) and (result != NOT_HERE or note), (number, result, note)
    if hasattr(broker, "is_real"):
        broker = "real" if broker.is_real else "mock"
    append({"kind": "row", "row": number, "fault": fault, "how": how, "broker": broker, "result": result,
             "recovery_s": None if recovery_s is None else round(recovery_s, 2), "note": note})


def not_here(number, fault, why):
    """A fault that cannot be injected on this machine, and why."""
    record(number, fault, "-", "-", NOT_HERE, None, why)


def figure(claim, best, aim, ours):
    """One line of the table of figures; `claim` is one of CLAIMS."""
    assert claim in CLAIMS, claim
    append({"kind": "figure", "claim": claim, "best": best, "aim": aim, "ours": ours})


class Row:
    def __init__(self):
        self.recovery_s, self.notes = None, []

    def recovery(self, seconds, within=None):
        """How long it took from the end of the fault until things were well again; the worst of several counts."""
        self.recovery_s = seconds if self.recovery_s is None else max(self.recovery_s, seconds)
        assert within is None or seconds <= within, f"well again after {seconds:.2f} s, wanted within {within} s"

    def note(self, text):
        """A figure that belongs to the result."""
        self.notes.append(text)


@contextlib.contextmanager
def row(number, fault, how, broker):
    """Records the body's end under the number: PASSED, or FAILED when it raises."""
    found = Row()
    try:
        yield found
    except BaseException as error:
        why = str(error).strip().splitlines()
        record(number, fault, how, broker, FAILED, found.recovery_s, (why[0] if why else type(error).__name__)[:160])
        raise
    record(number, fault, how, broker, PASSED, found.recovery_s, "; ".join(found.notes))


def append(line):
    """A line of the run's file, where there is one."""
    path = os.environ.get("SIGNUP_CHAOS_RESULTS")
    if not path:
        return
    with open(path, "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps({**line, "at": int(time.time())}, ensure_ascii=False) + "\n")


def read(path):
    """The lines of a run's file; of several with the same number and fault the last one counts, but a failure stays."""
    rows, figures = {}, {}
    if pathlib.Path(path).exists():
        for text in pathlib.Path(path).read_text("utf-8").splitlines():
            line = json.loads(text)
            kind = line.pop("kind")
            if kind == "figure":
                figures[line["claim"]] = line
            elif kind == "row":
                key = line["row"], line["fault"]
                if key not in rows or rows[key]["result"] != FAILED:
                    rows[key] = line
    return list(rows.values()), list(figures.values())


# --- the tables ---

def recovery_figure(rows):
    """The worst recovery after each of the three has come back. Only rows of a server that was away or silent: not those of names,
    certificates and errors, which have their own times."""
    worst = {name: max((line["recovery_s"] for line in rows if line["row"] in numbers and line["recovery_s"] is not None
                        and line["broker"] != "mock"), default=None)
             for name, numbers in (("broker", (12, 13)), ("PostgreSQL", range(26, 36)), ("API", (23, 36, 37, 38, 39, 50)))}
    said = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in worst.items() if seconds is not None)
    return {"kind": "figure", "claim": "recovery after broker, PostgreSQL, API return", "best": "60-480 s limits",
            "aim": "<= 5 s PostgreSQL and API, <= 10 s broker; the worst seen", "ours": said}


def merge(path):
    """Lays the results of a run over what is stored."""
    rows, figures = read(path)
    stored = json.loads(STORE.read_text("utf-8")) if STORE.exists() else {"rows": [], "figures": []}
    ran = {line["row"] for line in rows}
    told = {line["claim"] for line in figures}
    stored["rows"] = sorted([line for line in stored["rows"] if line["row"] not in ran] + rows,
                            key=lambda line: (line["row"], line["fault"]))
    figures.append(recovery_figure(stored["rows"]))
    told.add(figures[-1]["claim"])
    stored["figures"] = sorted([line for line in stored["figures"] if line["claim"] not in told] + figures,
                               key=lambda line: CLAIMS.index(line["claim"]))
    text = json.dumps(stored, indent=1, ensure_ascii=False, sort_keys=True)
    STORE.write_text(text + "\n", "utf-8")
    return stored


def _cell(text):
    return str(text).replace("|", "\\|").replace("\n", " ")


def _table(head, lines):
    return ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |",
            *("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)]


def fault_tables(stored):
    lines = []
    for numbers, title in SECTIONS:
        rows = [one for one in stored["rows"] if one["row"] in numbers]
        lines += ["", f"### {title}", ""]
        lines += _table(("#", "fault", "how injected", "broker", "result", "recovery", "seen"),
                        [(one["row"], one["fault"], one["how"], one["broker"], one["result"],
                          "" if one["recovery_s"] is None else f"{one['recovery_s']:g} s", one["note"]) for one in rows])
    return lines[1:]


def figure_table(stored):
    return _table(("claim", "best published", "aim", "ours"),
                  [(one["claim"], one["best"], one["aim"], one["ours"]) for one in stored["figures"]])


def write_readme(stored):
    """Puts the tables between their marks; what a person wrote around them stays."""
    text = README.read_text("utf-8")
    for name, lines in (("faults", fault_tables(stored)), ("figures", figure_table(stored))):
        begin, end = f"<!-- {name}: begin, written by run --write -->", f"<!-- {name}: end -->"
        before, found, rest = text.partition(begin)
        assert found and end in rest, f"{README.name}: no place for {name}"
        text = before + begin + "\n" + "\n".join(lines) + "\n" + end + rest.partition(end)[2]
    README.write_text(text, "utf-8")
