"""The commands of docs/launching.md, for tests that run them as they stand there."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/launching.md"
READER = ROOT / "include/allfold/launch/environment.hpp"


def block(mark: str) -> list[str]:
    """The lines, without comments, of the one block of commands in which `mark` stands. Ranks might
    meet without a variable of it, so it is looked for where the library reads them."""
    blocks = re.findall(r"(?:^ {4,}\S.*\n)+", PAGE.read_text(), re.MULTILINE)
    found = [it for it in blocks if mark in it]
    assert len(found) == 1, f"{PAGE} has {len(found)} blocks of commands with {mark!r}"
    for name in re.findall(r"\b[A-Z]+_[A-Z_]+\b", found[0]):
        assert f'"{name}"' in READER.read_text(), f"{PAGE}: the library does not read {name}"
    return [re.sub(r"\s+#.*", "", line).strip() for line in found[0].splitlines()]


def changed(line: str, **changes: str) -> str:
    """`line` with other names for what readers replace, too: `program` for ./train, `ranks` for the
    number after -n, and what else is named. Each must be there."""
    patterns = {"program": r"\./train", "ranks": r"(?<=-n )\d+"}
    for name, new in changes.items():
        line, times = re.subn(patterns.get(name, name), lambda _, new=new: new, line)
        assert times, f"{PAGE}: there is no {name} in: {line}"
    return line
