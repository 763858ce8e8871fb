"""A table of rules as a C++ header."""

from __future__ import annotations

from facts import Facts
from rules import Rule


def _bytes(count: int) -> str:
    return f"{count >> 10} * 1024" if count >= 1 << 14 and count % 1024 == 0 else str(count)


def _when(rule: Rule) -> str:
    parts = [f".ranks = {rule.ranks}" if rule.ranks > 1 else "",
             f".from = {_bytes(rule.start)}" if rule.start else "",
             f".to = {_bytes(rule.end)}" if rule.end is not None else "",
             ".crowded = true" if rule.crowded else ""]
    text = ", ".join(part for part in parts if part)
    return f", allfold::when{{{text}}}" if text else ""


def _using(collective: str, rules: list[Rule], facts: Facts) -> str:
    lines = [f"      allfold::rule<allfold::{facts.spelling(rule.algorithm)}{_when(rule)}>"
             for rule in rules]
    lines = [line if len(line) < 100 else line.replace(", allfold::when", ",\n" + " " * 20 +
                                                       "allfold::when") for line in lines]
    return f"  using {collective} = allfold::rules<\n" + ",\n".join(lines) + ">;\n"


def table(rules: dict[str, list[Rule]], facts: Facts) -> str:
    """The struct alone. A collective by whose rules everything goes by direct is not named."""
    body = "".join(_using(name, each, facts) for name, each in rules.items() if len(each) > 1)
    return "struct my_tuning : allfold::direct_tuning {" + (f"\n{body}" if body else "") + "};\n"


def header(rules: dict[str, list[Rule]], facts: Facts, machine: dict[str, str]) -> str:
    where = " ".join(f"{machine.get('CPU', 'a machine')}, {facts.cores} cores".split())
    return (f"// Which algorithm is the fastest when: measured by bench/tune.\n// {where}\n"
            "#pragma once\n\n#include <allfold/allfold.hpp>\n\n"
            "/// Use it as allfold::tuned<my_tuning>, which stands where an algorithm does.\n"
            + table(rules, facts))
