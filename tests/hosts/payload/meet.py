"""Ranks that meet by TCP at MASTER_ADDR, started by two_hosts or anything else that tells them who
they are as torchrun does. Rank 0 prints what each of them sees of its host, a line of JSON for each.
Usage: meet.py [BYTES], so many of which each rank sends to rank 0."""

import json
import os
import socket
import sys
import time

RANK, SIZE = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
WHERE = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
BYTES = int(sys.argv[1]) if len(sys.argv) > 1 else 0
MARK = f"/dev/shm/meet.{RANK}"


def facts() -> dict:
    return {"rank": RANK, "size": SIZE, "local_rank": int(os.environ["LOCAL_RANK"]),
            "local_size": int(os.environ["LOCAL_WORLD_SIZE"]), "host": socket.gethostname(),
            "network": os.readlink("/proc/self/ns/net"), "folder": os.getcwd(),
            "interfaces": sorted(os.listdir("/sys/class/net")),
            "shared": sorted(name for name in os.listdir("/dev/shm") if name.startswith("meet."))}


def connect() -> socket.socket:
    until = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(WHERE, timeout=10)
        except ConnectionRefusedError:  # rank 0 does not listen yet
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def lead() -> None:
    server = socket.create_server(("", WHERE[1]), backlog=SIZE)
    server.settimeout(10)
    files = []
    for _ in range(SIZE - 1):
        peer = server.accept()[0]
        peer.settimeout(10)
        files.append(peer.makefile("rw"))
        files[-1].readline()
    for file in files:  # all have left their marks
        file.write("go\n")
        file.flush()
    told = [facts()] + [json.loads(file.readline()) for file in files]
    sizes = [len(file.read(BYTES)) for file in files]
    if sizes != [BYTES] * (SIZE - 1):
        sys.exit(f"rank 0 got {sizes} characters")
    for file in files:
        file.write("done\n")
        file.flush()
    for it in sorted(told, key=lambda it: it["rank"]):
        print(json.dumps(it), flush=True)


def follow() -> None:
    file = connect().makefile("rw")
    file.write("here\n")
    file.flush()
    file.readline()
    file.write(json.dumps(facts()) + "\n" + "x" * BYTES)
    file.flush()
    file.readline()  # nobody looks at the marks any more


open(MARK, "w").close()
try:
    lead() if RANK == 0 else follow()
finally:
    os.unlink(MARK)
