"""Lets real launchers start ranks that read their environment and meet:

    python3 run_launchers.py <allfold-run> <meet> [launcher]

The commands are those of docs/launching.md. Says of each launcher that is not installed that it is
skipped; with its name, exits with 77 then.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile

RANKS = 3
RUN, MEET = sys.argv[1:3]


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def lines_of(command, **variables):
    done = subprocess.run(command, env={**os.environ, **variables}, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=120, check=False, text=True)
    found = [json.loads(line[line.index("{"):]) for line in done.stdout.splitlines()
             if "{" in line]
    assert done.returncode == 0, (command, done.returncode, done.stderr)
    return sorted(found, key=lambda it: it["rank"])


def check(name, command, knows_machine=True, **variables):
    found = lines_of(command, **variables)
    assert len(found) == RANKS, found
    if found[0]["sum"] == -1:
        print(f"skipped: there was no Asio to compile {MEET} with")
        sys.exit(77)
    for rank, it in enumerate(found):
        expected = {"rank": rank, "size": RANKS, "launcher": name, "sum": RANKS * (RANKS - 1) // 2}
        expected |= ({"local_rank": rank, "local_size": RANKS} if knows_machine
                     else {"local_rank": 0, "local_size": 1})
        expected |= {"job": variables[key] for key in ("ALLFOLD_JOB",) if key in variables}
        assert {key: it[key] for key in expected} == expected, it
        for key in ("job", "address", "port"):
            assert it[key] == found[0][key], found
    print(f"{name}: {' '.join(command)}")


def mpirun(*names):
    """The first of them that is installed; `mpirun` itself may be of any implementation."""
    return next((name for name in names if shutil.which(name)), None)


def allfold_run(way):
    return [sys.executable, RUN, "-n", str(RANKS), MEET, way]


def check_allfold_run():
    check("allfold-run", allfold_run("file"))
    check("allfold-run", allfold_run("tcp"))


def check_open_mpi():
    program = mpirun("mpirun.openmpi", "orterun")
    if not program:
        return "there is no mpirun of Open MPI"
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    command = [program, "--oversubscribe", "-n", str(RANKS), MEET]
    check("Open MPI", [*command, "tcp"], **root)
    with tempfile.TemporaryDirectory() as folder:
        check("Open MPI", [*command, "file"], ALLFOLD_RENDEZVOUS=folder, **root)
        assert not os.listdir(folder)


def check_mpich():
    program = mpirun("mpirun.mpich", "mpiexec.hydra")
    if not program:
        return "there is no mpirun of MPICH"
    command = [program, "-n", str(RANKS), MEET]
    check("MPICH", [*command, "tcp"], MASTER_PORT=str(free_port()), ALLFOLD_JOB="it")
    check("MPICH", [*command, "tcp"], ALLFOLD_JOB=secrets.token_hex(16))
    with tempfile.TemporaryDirectory() as folder:
        check("MPICH", [*command, "file"], ALLFOLD_RENDEZVOUS=folder)
        assert not os.listdir(folder)


def check_torchrun():
    if not shutil.which("torchrun"):
        return "there is no torchrun"
    # One stream redirected and shown: some versions can't leave them alone.
    check("torchrun", ["torchrun", "--master_port", str(free_port()), "-r", "1", "-t", "1",
                       "--nproc_per_node", str(RANKS), "--no_python", MEET, "tcp"],
          ALLFOLD_JOB=secrets.token_hex(16))


def check_by_hand():
    start = f"for rank in $(seq 0 {RANKS - 1}); do RANK=$rank {MEET} %s & done; wait"
    told = {"WORLD_SIZE": str(RANKS), "ALLFOLD_JOB": secrets.token_hex(16)}
    check("RANK and WORLD_SIZE", ["sh", "-c", start % "tcp"], knows_machine=False,
          MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port()), **told)
    with tempfile.TemporaryDirectory() as folder:
        check("RANK and WORLD_SIZE", ["sh", "-c", start % "file"], knows_machine=False,
              ALLFOLD_RENDEZVOUS=folder, **told)
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
