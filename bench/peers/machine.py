"""What it was measured on, by what the system says of itself."""

from __future__ import annotations

import json
import pathlib
import platform
import re
import subprocess
import tempfile
import time


def output(*words: str) -> str:
    """Of a command; empty if it fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _first_match(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found.group(1) if found else ""


def _lscpu() -> dict[str, str]:
    found: dict[str, str] = {}

    def walk(entries):
        for entry in entries:
            found[entry["field"].rstrip(":")] = entry.get("data") or ""
            walk(entry.get("children", []))

    try:
        walk(json.loads(output("lscpu", "-J"))["lscpu"])
    except (ValueError, KeyError):
        pass
    return found


def _kind_of_machine(cpu: dict[str, str]) -> str:
    hypervisor = cpu.get("Hypervisor vendor", "")
    if hypervisor:
        return f"virtual ({hypervisor}, {cpu.get('Virtualization type', 'unknown')} virtualization)"
    flags = pathlib.Path("/proc/cpuinfo")
    if flags.exists() and " hypervisor " in flags.read_text():
        return "virtual"
    return "not virtual, as far as it says"


def _memory() -> str:
    path = pathlib.Path("/proc/meminfo")
    total = _first_match(r"MemTotal:\s+(\d+) kB", path.read_text() if path.exists() else "")
    return f"{int(total) / (1 << 20):.0f} GiB" if total else "unknown"


def _huge_pages() -> str:
    path = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return _first_match(r"\[(\w+)\]", path.read_text() if path.exists() else "") or "unknown"


def hardware() -> dict[str, str]:
    """And the kernel, in the order in which it is to be read."""
    cpu = _lscpu()
    caches = [f"{name} {cpu[field]}" for name, field in
              (("L1d", "L1d cache"), ("L2", "L2 cache"), ("L3", "L3 cache")) if field in cpu]
    model = (f"{cpu.get('Model name', platform.processor())} (family {cpu.get('CPU family', '?')}, "
             f"model {cpu.get('Model', '?')})")
    return {
        "CPU": model,
        "cores": f"{cpu.get('CPU(s)', '?')}, {cpu.get('Thread(s) per core', '?')} thread each",
        "caches": ", ".join(caches),
        "memory": f"{_memory()}; transparent huge pages: {_huge_pages()}",
        "machine": _kind_of_machine(cpu),
        "kernel": f"{platform.system()} {platform.release()}",
    }


def describe(program: pathlib.Path) -> dict[str, str]:
    """With what is compared. `program` is the library's own."""
    return {
        **hardware(),
        "compiler and flags": output(str(program), "--about"),
        "Open MPI": _first_match(r"\) (\S+)", output("mpirun.openmpi", "--version")),
        "MPICH": _first_match(r"MPICH Version:\s+(\S+)", output("mpichversion")),
        "Gloo": output("dpkg-query", "-W", "-f", "${Version}", "libgloo-dev"),
    }


def compile_seconds(include: pathlib.Path, times: int = 3) -> list[float]:
    """Of a translation unit that only includes the library."""
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "includes.cpp"
        source.write_text("#include <allfold/allfold.hpp>\n")
        command = ["g++", "-std=c++20", "-O2", f"-I{include}", "-c", str(source), "-o", "/dev/null"]
        found = []
        for _ in range(times):
            begin = time.monotonic()
            subprocess.run(command, check=True, capture_output=True)
            found.append(round(time.monotonic() - begin, 3))
    return sorted(found)
