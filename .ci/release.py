"""Prepare a release: the version, the changelog, and what has to be true before it is tagged.

    python .ci/release.py 1.2.3 [--date 2030-01-31]

Nothing is committed, tagged or published; the last lines say what is left to do.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from datetime import UTC, date, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = ROOT / "trio_supervisor" / "_version.py"
CHANGELOG = ROOT / "CHANGELOG.md"
NUMBER = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:(a|b|rc)(\d+))?")
HEADING = re.compile(r"^## \[(.+?)\](.*)$", re.MULTILINE)


class NotReady(Exception):
    """Something has to be done before this can be released."""


def order(version: str) -> tuple[int, int, int, str, int]:
    """A key that sorts versions; an alpha, beta or candidate comes before its release.

    Raises:
        NotReady: It is no version number.
    """
    match = NUMBER.fullmatch(version)
    if match is None:
        raise NotReady(f"{version!r} is no version: use 1.2.3, or 1.2.3rc1 for a candidate")
    major, minor, patch, stage, number = match.groups()
    return int(major), int(minor), int(patch), stage or "z", int(number or 0)


def bumped(source: str, version: str) -> str:
    """The text of ``_version.py`` with the new version.

    Raises:
        NotReady: The new version is not a later one, or the old one is not found.
    """
    match = re.search(r'__version__[^=\n]*= "([^"]+)"', source)
    if match is None:
        raise NotReady(f"no __version__ in {VERSION.name}")
    old = match.group(1)
    if order(version) < order(old):
        raise NotReady(f"{version} is older than {old}, which is there")
    return source.replace(f'"{old}"', f'"{version}"', 1)


def listed(text: str, heading: re.Match[str] | None) -> bool:
    """Whether the section with this heading lists any change."""
    if heading is None:
        return False
    following = HEADING.search(text, heading.end())
    section = text[heading.end() : following.start() if following else len(text)]
    return re.search(r"^- ", section, re.MULTILINE) is not None


def dated(text: str, version: str, day: date) -> str:
    """The changelog with the unreleased changes under the new version, and its date.

    Raises:
        NotReady: Nothing is listed as unreleased, or the version has its section already.
    """
    found = {match.group(1): match for match in HEADING.finditer(text)}
    if version in found and re.search(r"\d{4}-\d\d-\d\d", found[version].group(2)):
        raise NotReady(f"{CHANGELOG.name} has a section of {version} already, with a date")
    heading = f"## [{version}] - {day.isoformat()}"
    if version in found:  # it was written under the coming version
        if listed(text, found.get("Unreleased")):
            raise NotReady(f"{CHANGELOG.name}: move what is unreleased into the section {version}")
        match = found[version]
        return text[: match.start()] + heading + text[match.end() :]
    unreleased = found.get("Unreleased")
    if unreleased is None:
        raise NotReady(f"{CHANGELOG.name} has no section [Unreleased]")
    if not listed(text, unreleased):
        raise NotReady(f"{CHANGELOG.name}: nothing is listed as unreleased")
    return text[: unreleased.end()] + "\n\n" + heading + text[unreleased.end() :]


def main() -> int:
    """Do it, and say what is left to do."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("version")
    parser.add_argument("--date", type=date.fromisoformat, default=datetime.now(UTC).date())
    options = parser.parse_args()
    try:
        source = bumped(VERSION.read_text(encoding="utf-8"), options.version)
        changes = dated(CHANGELOG.read_text(encoding="utf-8"), options.version, options.date)
        status = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if status.stdout.strip():
            raise NotReady("there are changes that are not committed:\n" + status.stdout)
    except NotReady as reason:
        print(f"release: {reason}")
        return 1
    VERSION.write_text(source, encoding="utf-8")
    CHANGELOG.write_text(changes, encoding="utf-8")
    print(f"""{VERSION.name} and {CHANGELOG.name} say {options.version}, {options.date}. Left to do:
  make test mutants
  git commit -am "Version {options.version}" && git tag -s v{options.version} -m {options.version}
  python -m hatchling build && look at dist/ before you upload it""")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
