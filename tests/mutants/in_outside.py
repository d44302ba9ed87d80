"""Bugs that those see who stand outside: the caller's block, who gives commands, who looks on."""

from __future__ import annotations

from typing import Final

from .mutant import Mutant

_ENCLOSURE = "_runtime.block"
_SUBSCRIPTION = "_runtime.subscription"

MUTANTS: Final = (
    # ---------------------------------------------------------------- the block
    Mutant(
        "a tree that has failed leaves its block alone",
        _ENCLOSURE,
        "        shell.on_failure = self._block.cancel\n",
        "",
    ),
    Mutant(
        "an orderly end cancels the block",
        "_runtime.shell",
        "        if outcome.is_failure or outcome.kind is o.OutcomeKind.FATAL:\n",
        "        if True:\n",
    ),
    Mutant(
        "an outer cancellation is swallowed",
        _ENCLOSURE,
        "            cancelled = error if cancelled is None or error is raised else cancelled\n",
        "            pass\n",
    ),
    Mutant(
        "an outer cancellation waits for the grace",
        _ENCLOSURE,
        "self._shell.shut_down(o.Shutdown(reason, grace=False, ",
        "self._shell.shut_down(o.Shutdown(reason, ",
    ),
    Mutant(
        "of what the block and the tree raise only one is kept",
        _ENCLOSURE,
        "    if len(found) == 1:\n        return found[0]\n",
        "    if found:\n        return found[-1]\n",
    ),
    Mutant(
        "whoever waits for the end of the supervisor waits for ever",
        "_runtime.shell",
        "        self.finished.set()\n",
        "",
    ),
    Mutant(
        "the report leaves out those below",
        "_runtime.shell",
        "                self._gone.extend(slot.nested.report.children)\n",
        "                pass\n",
    ),
    # ---------------------------------------------------------------- commands
    Mutant(
        "a start_child that is cancelled leaves its child behind",
        "_runtime.supervisor",
        "            await self._withdraw(reply)  # noqa: ASYNC102 - shielded inside\n",
        "",
    ),
    Mutant(
        "start_child_soon forgets a child that fails to start",
        "_runtime.supervisor",
        "o.FirstStart.ORDINARY, reason",
        "o.FirstStart.FORGETS_CHILD, reason",
    ),
    Mutant(
        "whoever ends its supervisor waits for its own grace",
        "_runtime.supervisor",
        "        forfeit_grace_if_inside(self._shell, self.path)\n",
        "",
    ),
    Mutant(
        "whoever stops one of a similar name loses its own grace",
        "_runtime.commands",
        'f"{attempt.path}/".startswith(f"{path}/")',
        "attempt.path.startswith(path)",
    ),
    Mutant(
        "a restart returns before the new attempt is ready",
        "_runtime.handle",
        "return view.generation >= wanted and view.live and view.state is ChildState.READY",
        "return view.generation >= wanted",
    ),
    Mutant(
        "a child added later runs in the context of the first ones",
        "_runtime.shell",
        "context = copy_context() if isinstance(signal, o.AddChild) else None",
        "context = self._context if isinstance(signal, o.AddChild) else None",
    ),
    # ---------------------------------------------------------------- looking on
    Mutant(
        "a slow reader is not told what it has missed",
        _SUBSCRIPTION,
        "            self._missed += 1\n",
        "",
    ),
    Mutant(
        "a subscriber of a branch hears of another one with such a name",
        _SUBSCRIPTION,
        'not f"{event.path}/".startswith(self._prefix)',
        "not event.path.startswith(self._prefix[:-1])",
    ),
    Mutant(
        "subscribers are not woken at the end",
        _SUBSCRIPTION,
        "        self._lot.unpark_all()\n",
        "        pass\n",
    ),
    Mutant(
        "reports are kept for ever",
        "_runtime.child_slot",
        "                del self._older[0]\n",
        "                pass\n",
    ),
    Mutant(
        "older reports keep their live exceptions",
        "_runtime.child_slot",
        "_in_brief(self.exit, self._detail)))",
        "self.exit))",
    ),
    # ---------------------------------------------------------------- the body's side
    Mutant(
        "a stop that was asked before anybody waits for it is lost",
        "_attempts.context",
        "        if attempt.stop_requested or attempt.ended_at is not None:\n"
        "            await trio.lowlevel.checkpoint()\n            return\n",
        "",
    ),
    Mutant(
        "a stop scope that is entered after the request stays open",
        "_attempts.context",
        "        if attempt.stop_requested or attempt.ended_at is not None:\n"
        "            scope.cancel(attempt.stop_reason)\n",
        "",
    ),
    Mutant(
        "a heartbeat after the end changes the report",
        "_attempts.context",
        "        if attempt.ended_at is not None:\n            return\n        attempt.beat_at =",
        "        attempt.beat_at =",
    ),
    Mutant(
        "of overlapping announcements of silence the last one counts",
        "_runtime.collector",
        "until = max(attempt.busy, default=-inf) if attempt.busy else -inf",
        "until = attempt.busy[-1] if attempt.busy else -inf",
    ),
    Mutant(
        "a heartbeat is lost when others have something to say",
        "_runtime.collector",
        "        self.post(ReportCollector._take_beat, attempt)\n\n    def post_busy",
        "        if not self._waiting:\n"
        "            self.post(ReportCollector._take_beat, attempt)\n\n    def post_busy",
    ),
    Mutant(
        "the supervisor polls",
        "_runtime.collector",
        "        if deadline < self._alarm_at:\n",
        "        deadline = min(deadline, trio.current_time() + 1)\n"
        "        if deadline < self._alarm_at:\n",
    ),
    Mutant(
        "deadlines are measured on the wall clock",
        "_runtime.collector",
        "            now = trio.current_time()\n            while True:",
        "            now = __import__('time').time()\n            while True:",
    ),
    Mutant(
        "a Ctrl-C or an exit out of a child is a crash like any other",
        "_events.exits",
        "        return _with_the_rest(fatal[0], error) if len(fatal) == 1 else error\n",
        "        return Crashed(RuntimeError(repr(fatal[0])))\n",
    ),
    Mutant(
        "errors beside a fatal one are forgotten",
        "_events.exits",
        "    if error is fatal:\n        return fatal\n",
        "    return fatal\n",
    ),
    Mutant(
        "of several fatal things only one is kept",
        "_events.exits",
        "        return _with_the_rest(fatal[0], error) if len(fatal) == 1 else error\n",
        "        return _with_the_rest(fatal[0], error)\n",
    ),
    Mutant(
        "what a child has begun elsewhere is taken to be inside of it",
        "_runtime.commands",
        "        if named and _is_within(attempt):\n",
        "        if named:\n",
    ),
    Mutant(
        "of several errors only one is kept",
        "_events.exits",
        "    judged = found[0] if len(found) == 1 else error\n",
        "    judged = found[0]\n",
    ),
    Mutant(
        "an exit is posted before the background tasks are gone",
        "_attempts.attempt",
        "                    attempt.returned = True\n",
        "                    attempt.returned = True\n"
        "                    attempt.ended_at = trio.current_time()\n"
        "                    attempt.host.post_exit(attempt)\n"
        "                    attempt.host = NO_HOST\n",
    ),
    Mutant(
        "an outer cancellation of a lone attempt is swallowed",
        "_attempts.attempt",
        "    return cancelled\n",
        "    return None\n",
    ),
    Mutant(
        "a nursery that a body leaves open is nobody's business",
        "_attempts.attempt",
        "                if task.child_nurseries[-1] is not nursery:\n",
        "                if False:\n",
    ),
)
