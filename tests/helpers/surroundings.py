"""What the tests inherit from whatever has started them, and must not depend on."""

from __future__ import annotations

import os
import signal

_SIGNALS = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGALRM")


def make_usual() -> None:
    """Undo what a shell, ``nohup`` or a service manager may have done to this process.

    Signals that are ignored here would be so in the programs that tests start: a shell lets what it
    starts in the background ignore Ctrl-C, and ``nohup`` lets it ignore SIGHUP. Without standard
    input its number would be given to the next file that is opened.
    """
    for name in _SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            default = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
            signal.signal(number, default)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
    try:
        os.fstat(0)
    except OSError:
        os.open(os.devnull, os.O_RDONLY)
