"""What a person sees while it runs, and the table at the end."""
import json
import os
import time

from results import append


class Progress:
    """One line that is written over and over, at most five times a second, where `run` has given a terminal."""

    def __init__(self, title):
        self.title, self.began, self.shown_at = title, time.monotonic(), 0.0
        self.fd = int(os.environ["SIGNUP_CHAOS_LINE_FD"]) if os.environ.get("SIGNUP_CHAOS_LINE_FD") else None

    def show(self, text):
        now = time.monotonic()
        if self.fd is None or now - self.shown_at < 0.2:
            return
        self.shown_at = now
        took = int(now - self.began)
        self._write(f"\r\033[K  {self.title} {took // 60}:{took % 60:02d}  {text}"[:200])

    def close(self):
        if self.fd is not None:
            self._write("\r\033[K")

    def _write(self, text):
        try:
            os.write(self.fd, text.encode())
        except OSError:
            self.fd = None


def summarize(scenario, seed=None, kills=None, joins=None, verdict=None, recovery_s=None, note=""):
    """A line of the table that `run` prints at the end."""
    counted = {} if verdict is None else {"events": verdict.events, "lost": len(verdict.lost), "twice": len(verdict.twice),
                                          "order": len(verdict.order) + len(verdict.overlaps)}
    append({"kind": "summary", "scenario": scenario, "seed": seed, "kills": kills, "joins": joins,
             "recovery_s": None if recovery_s is None else round(recovery_s, 2), "note": note, **counted})


COLUMNS = (("scenario", "scenario", 40), ("seed", "seed", 11), ("kills", "kills", 6), ("joins", "joins+leaves", 12),
           ("events", "events", 8), ("lost", "lost", 5), ("twice", "twice", 6), ("order", "order", 6),
           ("recovery_s", "p100 s", 7))


def summary_table(path):
    """Lines for a terminal, from the file of a run; none when nothing was summarized."""
    rows = []
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            rows = [line for line in map(json.loads, file) if line["kind"] == "summary"]
    if not rows:
        return []
    def cells(values):
        return " ".join(str(value)[:width].ljust(width) if place == 0 else str(value)[:width].rjust(width)
                        for place, (value, (_, _, width)) in enumerate(zip(values, COLUMNS)))
    lines = [cells([title for _, title, _ in COLUMNS])]
    for row in rows:
        lines.append(cells(["-" if row.get(name) is None else row[name] for name, _, _ in COLUMNS])
                     + (f"  {row['note']}" if row.get("note") else ""))
    return lines
