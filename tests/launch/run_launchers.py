"""Lets real launchers start ranks that read their environment and meet:

    python3 run_launchers.py <allfold-run> <meet> [launcher]

The commands are those of docs/launching.md, as they stand there but for names and ports; on several
machines tests/hosts/test_launching.py runs them. Says of each launcher that is not installed that
it is skipped; with its name, exits with 77 then.
"""

import json
import os
import pathlib
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from launching_page import block, changed

RANKS = 3
RUN, MEET = sys.argv[1:3]


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def lines_of(command, **variables):
    done = subprocess.run(["sh", "-c", command], env={**os.environ, **variables},
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False,
                          text=True)
    found = [json.loads(line[line.index("{"):]) for line in done.stdout.splitlines()
             if "{" in line]
    assert done.returncode == 0, (command, done.returncode, done.stderr)
    return sorted(found, key=lambda it: it["rank"])


def check(name, command, ranks=RANKS, knows_machine=True, **variables):
    """`command`: of a shell. With SECRET among the variables, it is the job's name."""
    found = lines_of(command, **variables)
    assert len(found) == ranks, found
    if found[0]["sum"] == -1:
        print(f"skipped: there was no Asio to compile {MEET} with")
        sys.exit(77)
    for rank, it in enumerate(found):
        expected = {"rank": rank, "size": ranks, "launcher": name, "sum": ranks * (ranks - 1) // 2}
        expected |= ({"local_rank": rank, "local_size": ranks} if knows_machine
                     else {"local_rank": 0, "local_size": 1})
        expected |= {"job": variables["SECRET"]} if "SECRET" in variables else {}
        assert {key: it[key] for key in expected} == expected, it
        for key in ("job", "address", "port"):
            assert it[key] == found[0][key], found
    print(f"{name}: {command}")


def mpirun(*names):
    """The first of them that is installed; `mpirun` itself may be of any implementation."""
    return next((name for name in names if shutil.which(name)), None)


def check_allfold_run():
    for way in ("file", "tcp"):
        check("allfold-run", shlex.join([sys.executable, RUN, "-n", str(RANKS), MEET, way]))


def of_page(mark, way, **changes):
    """The first command of the page with that mark: for one machine. Its ranks meet by `way`."""
    return changed(block(mark)[0], **changes, program=f"{shlex.quote(MEET)} {way}")


def check_open_mpi():
    program = mpirun("mpirun.openmpi", "orterun")
    if not program:
        return "there is no mpirun of Open MPI"
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    changes = {"mpirun": f"{program} --oversubscribe", "ranks": str(RANKS)}
    check("Open MPI", of_page("# Open MPI", "tcp", **changes), **root)
    with tempfile.TemporaryDirectory() as folder:
        check("Open MPI", of_page("# Open MPI", "file", **changes), ALLFOLD_RENDEZVOUS=folder,
              **root)
        assert not os.listdir(folder)


def check_mpich():
    program = mpirun("mpirun.mpich", "mpiexec.hydra")
    if not program:
        return "there is no mpirun of MPICH"
    changes = {"mpirun": program, "ranks": str(RANKS)}
    check("MPICH", of_page("# MPICH", "tcp", **changes), MASTER_PORT=str(free_port()), SECRET="it")
    check("MPICH", of_page("# MPICH", "tcp", **changes), SECRET=secrets.token_hex(16))
    with tempfile.TemporaryDirectory() as folder:
        check("MPICH", of_page("# MPICH", "file", **changes), ALLFOLD_RENDEZVOUS=folder, SECRET="")
        assert not os.listdir(folder)


def check_torchrun():
    if not shutil.which("torchrun"):
        return "there is no torchrun"
    # One stream redirected and shown: some versions can't leave them alone.
    more = f"torchrun --master_port {free_port()} -r 1 -t 1"
    check("torchrun", of_page("torchrun", "tcp", torchrun=more), 4, SECRET=secrets.token_hex(16))


def check_by_hand():
    export, *lines = block("# by hand")
    export = changed(export, **{"WORLD_SIZE=2": f"WORLD_SIZE={RANKS}"})

    def start(first, second, way, **changes):
        """Also another rank as the page's second."""
        all_lines = [first, second, changed(second, **{"RANK=1": "RANK=2"})]
        changes["program"] = f"{shlex.quote(MEET)} {way}"
        each = [changed(line.removesuffix("&"), **changes) + " &" for line in all_lines]
        return "\n".join([export, *each, "wait"])

    secret = secrets.token_hex(16)
    check("RANK and WORLD_SIZE", start(*lines[2:], "tcp", node1="127.0.0.1",
                                       **{"29500": str(free_port())}),
          knows_machine=False, SECRET=secret)
    with tempfile.TemporaryDirectory() as folder:
        check("RANK and WORLD_SIZE", start(*lines[:2], "file", **{"/tmp/meet": folder}),
              knows_machine=False, SECRET=secret)
        assert not os.listdir(folder)


def main():
    checks = {"allfold_run": check_allfold_run, "open_mpi": check_open_mpi, "mpich": check_mpich,
              "torchrun": check_torchrun, "hand": check_by_hand}
    skipped = False
    for name in sys.argv[3:] or checks:
        why = checks[name]()
        if why:
            print(f"skipped: {why}")
            skipped = True
    return 77 if skipped and len(sys.argv) > 3 else 0


if __name__ == "__main__":
    sys.exit(main())
