"""Figures: collected over runs, shown as a table for people, written between the markers of README.md."""
import statistics

BEGIN, END = "<!-- figures: begin, written by tests/bench/run --write -->", "<!-- figures: end -->"


class Figure:
    """One quantity over the runs of a scenario. `target` is None, or (">=" or "<=", a number)."""

    def __init__(self, name, unit, digits=0, target=None):
        self.name, self.unit, self.digits, self.target, self.values = name, unit, digits, target, []

    def format(self, value):
        return f"{value:,.{self.digits}f}"

    @property
    def median(self):
        return statistics.median(self.values)

    def target_text(self):
        if self.target is None:
            return ""
        sign = {">=": "≥", "<=": "≤"}[self.target[0]]
        return f"{sign} {self.format(self.target[1])}"

    def verdict(self):
        if self.target is None:
            return ""
        reached = self.median >= self.target[1] if self.target[0] == ">=" else self.median <= self.target[1]
        return "yes" if reached else "no"

    def row(self):
        return [self.name, self.unit, self.format(self.median), self.format(min(self.values)), self.format(max(self.values)),
                self.target_text(), self.verdict()]


class Result:
    """The figures of one scenario, in the order in which they are to be read."""

    def __init__(self, title, figures):
        self.title, self.figures = title, figures

    def add(self, values):
        """One run: {figure name: value}, complete."""
        assert set(values) == {figure.name for figure in self.figures}, f"{self.title}: {sorted(values)}"
        for figure in self.figures:
            figure.values.append(values[figure.name])


HEAD = ["", "unit", "median", "min", "max", "target", "reached"]
RIGHT = {2, 3, 4, 5}


def _aligned(cells, widths):
    return "  ".join(cell.rjust(width) if column in RIGHT else cell.ljust(width)
                     for column, (cell, width) in enumerate(zip(cells, widths))).rstrip()


def show(results):
    """The table for a terminal."""
    rows = [figure.row() for result in results for figure in result.figures if figure.values]
    widths = [max(len(row[column]) for row in [HEAD, *rows]) for column in range(len(HEAD))]
    for result in results:
        print(f"\n{result.title}")
        print(_aligned(HEAD, widths))
        for figure in result.figures:
            if figure.values:
                print(_aligned(figure.row(), widths))
    print()


def _markdown_table(result):
    lines = ["| | unit | median | min | max | target | reached |", "| --- | --- | ---: | ---: | ---: | ---: | --- |"]
    for figure in result.figures:
        cells = figure.row()
        if figure.target is not None:
            cells[0], cells[2] = f"**{cells[0]}**", f"**{cells[2]}**"
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def render(command, facts, results):
    """What stands between the markers."""
    parts = [f"Measured with\n\n```sh\n{command}\n```", "| | |\n| --- | --- |\n" +
             "\n".join(f"| {name} | {text} |" for name, text in facts)]
    parts += [f"### {result.title}\n\n{_markdown_table(result)}" for result in results]
    return "\n\n".join(parts)


def write(path, command, facts, results):
    """Replaces what stands between the markers of `path`; the rest is prose and stays."""
    text = path.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise RuntimeError(f"{path} has lost its markers")
    path.write_text(f"{before}{BEGIN}\n\n{render(command, facts, results)}\n\n{END}{after}", "utf-8")
