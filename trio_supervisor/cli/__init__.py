"""The command ``trio-supervisor``: see and steer a running tree, check a declared one.

Every verb is a module of its own, imported when it is asked for. What talks to a daemon imports
neither Trio nor attrs: a probe that runs every ten seconds costs little more than Python itself.

Layout:

_main        The entry point: finds the verb, turns errors into exit codes.
_table       The verbs: one line about each, its options, an example.
_output      Text for terminals, pipes and ``--json``.
_look _tree _steer _streams _why _watch
             Verbs that talk to a daemon.
_check _generate _completion _run
             Verbs that need none.
"""
