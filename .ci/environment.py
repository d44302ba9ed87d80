"""Make a virtual environment from what pyproject.toml declares, unless it is there already.

    python .ci/environment.py [--lowest] FOLDER WHAT [WHAT ...]

WHAT is ``core`` (the dependencies), ``build`` (what building the wheel needs), the name of an
extra, or ``extra/package`` for a single member of one. ``--lowest`` turns every lower bound into
the version to install. The environment is made anew when the requirements or the Python change.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import venv
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)(?:\[([^\]]*)\])?\s*(.*)$")


def requirements(what: list[str]) -> list[str]:
    """The requirements that the words on the command line stand for, in order, without doubles."""
    import tomllib  # here, so that an older Python gets as far as being told that it is too old

    pyproject = tomllib.loads(PROJECT.read_text())
    project = pyproject["project"]
    groups = {
        "core": project["dependencies"],
        "build": pyproject["build-system"]["requires"],
        **project["optional-dependencies"],
    }
    found: dict[str, None] = {}
    for word in what:
        group, _, only = word.partition("/")
        for requirement in groups[group]:
            name, extras, _ = parse(requirement)
            if only and name != only:
                continue
            if name == project["name"]:
                found.update(dict.fromkeys(requirements(extras.split(","))))
            else:
                found[requirement] = None
    return list(found)


def parse(requirement: str) -> tuple[str, str, str]:
    """Name, extras and version specifiers of a requirement."""
    match = REQUIREMENT.match(requirement)
    if match is None:
        raise SystemExit(f"{PROJECT.name}: cannot read the requirement {requirement!r}")
    name, extras, specifiers = match.groups()
    return name, extras or "", specifiers


def lowest(requirement: str) -> str:
    """The same requirement, allowing its lowest version only."""
    _, _, specifiers = parse(requirement)
    if ">=" not in specifiers:
        raise SystemExit(f"{PROJECT.name}: {requirement!r} has no lower bound")
    return requirement.replace(">=", "==", 1)


def make(folder: Path, wanted: list[str]) -> None:
    """Build the environment, and note at the very end what it is made of."""
    stamp = folder / ".made-of"
    made_of = "\n".join([sys.version, sys.prefix, *wanted])
    python = folder / "bin" / "python"
    if python.exists() and stamp.exists() and stamp.read_text() == made_of:
        return
    print(f"{folder.name}: Python {sys.version.split()[0]} with {' '.join(wanted)}", flush=True)
    venv.create(folder, clear=True, with_pip=True, symlinks=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
    subprocess.run([*pip, "--no-compile", *wanted], check=True)
    stamp.write_text(made_of)


def main() -> None:
    """Do what the command line says."""
    if sys.version_info < (3, 11):  # noqa: UP036 - make may have been given any Python
        raise SystemExit(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lowest", action="store_true")
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", nargs="+")
    options = parser.parse_args()
    wanted = requirements(options.what)
    make(options.folder, [lowest(each) for each in wanted] if options.lowest else wanted)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"pip failed with exit code {error.returncode}") from None
