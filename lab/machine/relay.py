"""Joins standard input and output to a TCP port: ssh's ProxyCommand, so that no netcat is needed.

`python -I -S relay.py ADDRESS PORT [SECONDS]`; imports little, since every connection starts it. With SECONDS the
server is far away: all bytes arrive so much later, in either direction.
"""

import os
import select
import socket
import sys
import time

SIZE = 65536


def main(address: str, port: int, delay: float = 0.0) -> None:
    """Passes bytes both ways until the server closes; an end of input is passed on."""
    time.sleep(2 * delay)  # for the connection itself
    try:
        server = socket.create_connection((address, port), timeout=10)
    except OSError as error:
        sys.exit(f"{address}:{port}: {error}")
    server.settimeout(None)
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as ssh itself does for a session of commands
    watched: list[int | socket.socket] = [0, server]
    late: list[tuple[float, int | socket.socket, bytes]] = []  # when it arrives, whence it came; nothing: its end
    while True:
        ready, _, _ = select.select(watched, [], [], max(0, late[0][0] - time.monotonic()) if late else None)
        for end in ready:
            data = server.recv(SIZE) if end is server else os.read(0, SIZE)
            late.append((time.monotonic() + delay, end, data))
            if not data:
                watched.remove(end)
        while late and late[0][0] <= time.monotonic():
            _, end, data = late.pop(0)
            if end is server:
                if not data:
                    return
                while data:
                    data = data[os.write(1, data) :]
            elif data:
                server.sendall(data)
            else:
                server.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]), *map(float, sys.argv[3:]))
    except (ConnectionError, KeyboardInterrupt):
        sys.exit(1)
