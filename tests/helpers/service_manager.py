"""The service manager's end of ``sd_notify``: a real datagram socket that keeps what it is told."""

from __future__ import annotations

import array
import os
import socket

from helpers.processes import wait_until


class Manager:
    """A service manager's end: collects datagrams, and the files that come with them."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)
        self.datagrams: list[list[str]] = []
        self.files: list[int] = []

    def collect(self) -> list[list[str]]:
        while True:
            try:
                data, ancillary, _, _ = self.socket.recvmsg(8192, 4096)
            except BlockingIOError:
                return self.datagrams
            self.datagrams.append(data.decode().split("\n"))
            for _, _, raw in ancillary:
                found = array.array("i")
                found.frombytes(raw)
                self.files += found

    @property
    def fields(self) -> list[str]:
        return [field for datagram in self.collect() for field in datagram]

    def wait_for(self, field: str) -> None:
        wait_until(
            lambda: any(each.startswith(field) for each in self.fields),
            lambda: f"no {field} in {self.datagrams}",
        )

    def close(self) -> None:
        self.socket.close()
        for file in self.files:
            os.close(file)
