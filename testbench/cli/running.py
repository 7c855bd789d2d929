"""Runs the command line in this process, as a shell would see it."""

import io
import json
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rootshift.cli.main import main


@dataclass(frozen=True)
class Outcome:
    """What one run leaves: exit code, and the text of both outputs."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object that standard output must be."""
        assert self.out.endswith("\n")
        assert self.out.count("\n") == 1, self.out

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is no JSON")

        found = json.loads(self.out, parse_constant=refuse)
        assert isinstance(found, dict)
        return found


def invoke(*words: object) -> Outcome:
    """Run `rootshift WORDS...`; an exception that escapes is a traceback in the user's face."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main([str(word) for word in words])
        except SystemExit as end:
            code = end.code
    return Outcome(code, out.getvalue(), err.getvalue())


def refused(*words: object) -> str:
    """The message of a run that must end as bad input does: exit code 2 and one line."""
    outcome = invoke(*words)
    start = f"rootshift {words[0]}: "
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    assert outcome.err.startswith(start), outcome.err
    assert outcome.err.endswith("\n")
    assert outcome.err.count("\n") == 1, outcome.err
    return outcome.err.removeprefix(start).rstrip("\n")


def files(directory: Path) -> dict[str, bytes]:
    """Path below a directory -> content of every file there, hidden ones too."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def labels_csv(path: Path, rows: Sequence[Sequence[object]], header: str = "file,label") -> Path:
    """Write a CSV file and return its path."""
    lines = [header, *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path
