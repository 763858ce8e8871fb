"""Rank 1 sends a byte every 20 ms to rank 0, which says when none has come for 0.7 s, and when one
comes again; then both end. In the folder that is the argument a file `ticking` appears when it goes
on, and `silent` when it does not."""

import os
import pathlib
import socket
import sys
import time

FOLDER = pathlib.Path(sys.argv[1])
WHERE = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
LONGEST = 20  # seconds

if os.environ["RANK"] == "0":
    server = socket.create_server(("", WHERE[1]))
    server.settimeout(LONGEST)
    (FOLDER / "listening").touch()
    peer = server.accept()[0]
    peer.settimeout(0.7)
    assert peer.recv(1)
    (FOLDER / "ticking").touch()
    try:
        begin = time.monotonic()
        while time.monotonic() - begin < LONGEST:
            assert peer.recv(1000)
        sys.exit("never silent")
    except TimeoutError:
        print("silent", flush=True)
        (FOLDER / "silent").touch()
    peer.settimeout(LONGEST)
    assert peer.recv(1000)
    print("again", flush=True)
else:
    while not (FOLDER / "listening").exists():
        time.sleep(0.02)
    peer = socket.create_connection(WHERE, timeout=LONGEST)
    try:
        while True:
            peer.sendall(b".")
            time.sleep(0.02)
    except (BrokenPipeError, ConnectionResetError):
        pass  # rank 0 has seen enough
