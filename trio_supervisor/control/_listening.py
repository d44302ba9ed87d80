"""A socket file with one owner: lock first, mode 0600 from birth, stale files only if refused.

A file at the socket's path is removed only while the lock beside it is held, only if it is a
socket, and only if connecting to it is refused: then no process listens there. Whatever is unclear
is left alone and said.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from typing import TYPE_CHECKING, final

from trio_supervisor._errors import SupervisorError
from trio_supervisor._lazy import public
from trio_supervisor.control import paths

if TYPE_CHECKING:
    from collections.abc import Iterator

_BACKLOG = 64


@public
class SocketInUse(SupervisorError):
    """Another process serves this socket, or something else lies at its path."""


@final
class SocketFile:
    """A listening Unix socket at a path, and the lock beside it.

    Args:
        path: Where. The directory must exist and belong to this user or root.
        group: Group id; its members may connect, to read; the file then has mode 0660.

    Raises:
        SocketInUse: Another process holds the lock or listens there, or the path is not a socket.
        OSError: The socket cannot be made.
    """

    def __init__(self, path: str, *, group: int | None = None) -> None:
        self.path = path
        if len(os.fsencode(path)) > paths.LONGEST:
            raise SocketInUse(f"{path}: a socket's path has at most {paths.LONGEST} bytes")
        self._lock = _lock(f"{path}.lock")
        try:
            _remove_if_stale(path)
            self.socket: socket.socket = _bind(path, group)
            self._identity = _identity(path)
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Stop listening, remove the file if it is still this one, and give up the lock.

        The lock file stays: to remove it could take it from under another process that has just
        opened it.
        """
        self.socket.close()
        if _identity(self.path) == self._identity:
            os.unlink(self.path)  # noqa: PTH108 - a path as text, as everywhere here
        os.close(self._lock)


def open_default(tree: str, *, group: int | None = None) -> SocketFile:
    """Listen in the directory of sockets, at the name of the tree; if it is taken, with our pid.

    Raises:
        SocketInUse: Neither name can be used.
        UnsafeDirectory: The directory cannot be trusted.
        OSError: The directory or the socket cannot be made.
    """
    directory = paths.directory_of_sockets()
    paths.make_directory(directory)
    name = paths.file_name_of(tree)
    try:
        return SocketFile(f"{directory}/{name}", group=group)
    except SocketInUse:
        own = f"{name.removesuffix('.sock')}-{os.getpid()}.sock"
        return SocketFile(f"{directory}/{own}", group=group)


def _lock(path: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise SocketInUse(f"{path} is a symbolic link") from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise SocketInUse(f"{path} is not a regular file")
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise SocketInUse(f"{path} is locked: another daemon serves this socket") from None
    except BaseException:
        os.close(fd)
        raise
    return fd


def _remove_if_stale(path: str) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise SocketInUse(f"{path} is there and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)  # noqa: PTH108
            return
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.EINPROGRESS}:
                raise SocketInUse(f"{path}: {error.strerror}: left alone") from None
    raise SocketInUse(f"{path}: another process listens there")


def _bind(path: str, group: int | None) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        before = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        if group is not None:
            os.chown(path, -1, group)
            os.chmod(path, 0o660)  # noqa: PTH101
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def stale_sockets() -> Iterator[str]:
    """Remove the sockets of dead daemons of this user; yield their paths."""
    for path in paths.sockets_of_user():
        try:
            lock = _lock(f"{path}.lock")
        except (OSError, SocketInUse):
            continue
        try:
            _remove_if_stale(path)
        except (OSError, SocketInUse):
            continue
        else:
            yield path
        finally:
            os.close(lock)
