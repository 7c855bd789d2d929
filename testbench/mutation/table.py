"""The score of each bench as a table of Markdown, and the list of mutants that survived."""

from collections.abc import Mapping
from typing import TextIO

from .records import BUILD, Reasons, Record, read

HEADER = (
    "| bench | mutants | killed | equivalent | survivors | score |",
    "|---|---|---|---|---|---|",
)


def report(kind: str, out: TextIO) -> None:
    """Print the table of what is kept, and write the survivors beside it."""
    records, reasons = read(kind), Reasons()
    print("\n".join(table(records, reasons)), file=out)
    path = BUILD / f"{kind}-survivors.txt"
    path.write_text("".join(f"{line}\n" for line in survivors(records, reasons)))


def table(records: Mapping[str, list[Record]], reasons: Reasons) -> list[str]:
    """One line per bench, and their sum; score is killed / (mutants - equivalent)."""
    counts = {}
    for bench, mutants in records.items():
        killed = sum(each.killed for each in mutants)
        alike = sum(not each.killed and bool(reasons.of(bench, each)) for each in mutants)
        counts[bench] = (len(mutants), killed, alike)
    total = tuple(map(sum, zip(*counts.values(), strict=True)))
    rows = [*counts.items(), *([("all", total)] if counts else [])]
    return [*HEADER, *(_row(name, *numbers) for name, numbers in rows)]


def survivors(records: Mapping[str, list[Record]], reasons: Reasons) -> list[str]:
    """One line per mutant that is neither killed nor explained."""
    return [
        f"{bench} {record.test}: {record.mutant}"
        for bench, mutants in records.items()
        for record in mutants
        if not record.killed and not reasons.of(bench, record)
    ]


def _row(name: str, mutants: int, killed: int, alike: int) -> str:
    counted = mutants - alike
    score = f"{100 * killed / counted:.1f} %" if counted else "-"
    return f"| {name} | {mutants} | {killed} | {alike} | {counted - killed} | {score} |"
