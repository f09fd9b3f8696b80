"""Joins standard input and output to a TCP port: ssh's ProxyCommand, so that no netcat is needed.

`python -I -S relay.py ADDRESS PORT`; imports little, since every connection starts it.
"""

import os
import select
import socket
import sys

SIZE = 65536


def main(address: str, port: int) -> None:
    """Passes bytes both ways until the server closes; an end of input is passed on."""
    try:
        server = socket.create_connection((address, port), timeout=10)
    except OSError as error:
        sys.exit(f"{address}:{port}: {error}")
    server.settimeout(None)
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as ssh itself does for a session of commands
    watched: list[int | socket.socket] = [0, server]
    while True:
        ready, _, _ = select.select(watched, [], [])
        if server in ready:
            data = server.recv(SIZE)
            if not data:
                return
            while data:
                data = data[os.write(1, data) :]
        if 0 in ready:
            data = os.read(0, SIZE)
            if data:
                server.sendall(data)
            else:
                server.shutdown(socket.SHUT_WR)
                watched = [server]


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]))
    except (ConnectionError, KeyboardInterrupt):
        sys.exit(1)
