"""What became of each mutant, kept in one file per bench so that benches can be run one by one."""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "mutation"
REASONS = Path(__file__).with_name("survivors.toml")


@dataclass(frozen=True, kw_only=True)
class Record:
    """One mutant.

    Attributes
    ----------
    test : str
        The test that ran with it.
    mutant : str
        What is changed, and where.
    killed : bool
        The test failed, or took too long.
    netlist : str
        Name of the file with the netlist that it changes, where it survived.
    proof : str
        Why nobody can tell it from the unit, found by a tool; empty where none is known.
    """

    test: str
    mutant: str
    killed: bool
    netlist: str = ""
    proof: str = ""


def write(kind: str, bench: str, records: Iterable[Record]) -> None:
    """Keep what is known of the mutants of one bench; `kind` of mutation is `rtl` or `python`."""
    path = BUILD / kind / f"{bench}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(record) for record in records], indent=1))


def read(kind: str) -> dict[str, list[Record]]:
    """Bench -> its mutants, of all benches that were run."""
    return {
        path.stem: [Record(**each) for each in json.loads(path.read_text())]
        for path in sorted((BUILD / kind).glob("*.json"))
    }


def keep_netlist(text: str) -> str:
    """Put a netlist beside the records; returns the name that `netlist` finds it by."""
    name = f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.il"
    path = BUILD / "netlists" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return name


def netlist(name: str) -> str:
    return (BUILD / "netlists" / name).read_text()


class Reasons:
    """Explanations of survivors that no test can kill: `survivors.toml`.

    Each `[[equivalent]]` has `bench`, `mutant` (a regular expression that is searched in
    `Record.mutant`) and `reason`.
    """

    def __init__(self, path: Path = REASONS) -> None:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("equivalent", [])
        self._entries = [(each["bench"], re.compile(each["mutant"]), each) for each in entries]

    def of(self, bench: str, record: Record) -> str:
        """Why the mutant is not counted: its proof, or what the file says; else nothing."""
        if record.proof:
            return record.proof
        for name, pattern, entry in self._entries:
            if re.fullmatch(name, bench) and pattern.search(record.mutant):
                return entry["reason"]
        return ""
