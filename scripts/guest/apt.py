# SPDX-License-Identifier: Apache-2.0
"""A private apt, with all Debian suites, on the mirrors this machine is configured for.

Everything is kept below one directory of the cache; /etc/apt is only read and /var/lib/apt is not
touched.
"""

import math
import os
import re
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from . import tools
from .failure import DOWNLOAD, Failure, TOOL_MISSING, say

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
CODENAMES = ("bullseye", "bookworm", "trixie", "forky")
MAIN_SUITES = ("bullseye", "bookworm", "bookworm-updates", "bookworm-backports",
               "trixie", "trixie-updates", "trixie-backports")
SECURITY_SUITES = ("bullseye-security", "bookworm-security", "trixie-security")


class Package(NamedTuple):
    name: str
    version: str


class Apt:
    def __init__(self, root: Path):
        self.root = root
        self._log = root / "update.log"

    def age_s(self) -> float:
        """Returns how long ago the package lists were fetched, in seconds; without any, for ever."""
        try:
            return time.time() - self._log.stat().st_mtime
        except OSError:
            return math.inf

    def update(self) -> None:
        """Fetches the package lists. A suite that is not there is passed over.

        Fails only when no list at all could be had; an older list serves where a newer one fails.
        """
        self._write_sources()
        done = self._run("apt-get", "-q", "update")
        if not self._index_files():
            raise Failure(DOWNLOAD, "no package list could be fetched; check the network and "
                                    f"/etc/apt/sources.list*. apt says:\n{_complaints(done.stdout)}")
        self._log.write_text(done.stdout)
        if re.search(r"^W: Failed to fetch", done.stdout, re.M):
            say(f"warning: some package lists are older than they should be, see {self._log}")

    def packages(self, pattern: str) -> list[Package]:
        """Returns the packages whose whole name matches the pattern, of all suites."""
        wanted = re.compile(rf"^Package: ({pattern})$", re.M)
        found = []
        for path in self._index_files():
            text = subprocess.run(["/usr/lib/apt/apt-helper", "cat-file", path],
                                  capture_output=True, text=True, check=True).stdout
            for match in wanted.finditer(text):
                end = text.find("\n\n", match.start())
                found.append(_package(text[match.start():end if end >= 0 else len(text)]))
        return found

    def download(self, packages: list[Package], directory: Path) -> None:
        """Downloads and verifies .deb files into the directory."""
        done = self._run("apt-get", "-q", "download", *(f"{p.name}={p.version}" for p in packages),
                         cwd=directory)
        if done.returncode != 0 or len(list(directory.glob("*.deb"))) != len(packages):
            names = " ".join(p.name for p in packages)
            raise Failure(DOWNLOAD, f"cannot download {names}; check the network and the space in "
                                    f"{directory}. apt says:\n{_complaints(done.stdout)}")

    def _write_sources(self) -> None:
        if not KEYRING.exists():
            raise Failure(TOOL_MISSING, f"{KEYRING} is not there: "
                                        "install the package debian-archive-keyring")
        main, security = _mirrors()
        lines = [(main, suite) for suite in MAIN_SUITES]
        lines += [(security, suite) for suite in SECURITY_SUITES if security]
        for directory in ("state/lists/partial", "cache/archives/partial"):
            (self.root / directory).mkdir(parents=True, exist_ok=True)
        (self.root / "status").touch()
        (self.root / "sources.list").write_text(
            "".join(f"deb [arch=amd64 signed-by={KEYRING}] {uri} {suite} main\n" for uri, suite in lines))

    def _index_files(self) -> list[str]:
        done = self._run("apt-get", "indextargets", "--format", "$(FILENAME)", "Created-By: Packages")
        return [path for path in done.stdout.splitlines() if os.path.exists(path)]

    def _run(self, program: str, *arguments: str, cwd: Path | None = None):
        options = {
            "Dir::State": self.root / "state",
            "Dir::State::status": self.root / "status",
            "Dir::State::lists": self.root / "state/lists",
            "Dir::Cache": self.root / "cache",
            "Dir::Cache::archives": self.root / "cache/archives",
            "Dir::Etc::sourcelist": self.root / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            # The user _apt may not enter a home directory.
            "APT::Sandbox::User": "root",
            # The list of a suite that is no longer updated outlives its date; it is still signed.
            "Acquire::Check-Valid-Until": "false",
            "Acquire::Languages": "none",
            "Acquire::Retries": "2",
            "Acquire::http::Timeout": "20",
        }
        command = [tools.need(program, "apt")]
        for key, value in options.items():
            command += ["-o", f"{key}={value}"]
        return subprocess.run(command + list(arguments), cwd=cwd, text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                              env=os.environ | {"LC_ALL": "C"})


def sources(suite: str) -> str:
    """Returns the text of a sources.list of one suite with its updates, from this machine's mirrors."""
    main, security = _mirrors()
    lines = [(main, suite), (main, f"{suite}-updates")] + ([(security, f"{suite}-security")] if security else [])
    return "".join(f"deb [arch=amd64 signed-by={KEYRING}] {uri} {name} main\n" for uri, name in lines)


def _package(stanza: str) -> Package:
    fields = dict(re.findall(r"^(Package|Version): (.*)$", stanza, re.M))
    return Package(fields["Package"], fields["Version"])


def _complaints(output: str) -> str:
    """Returns the lines of apt's output that say what went wrong, the last few of them."""
    lines = [line for line in output.splitlines() if line.startswith(("E:", "W:"))]
    return "\n".join(lines[-6:]) or output.rstrip()


def _index_targets() -> list[list[str]]:
    """Returns [origin, label, release, uri] of the lists this machine's apt is configured for."""
    command = [tools.need("apt-get", "apt"), "indextargets",
               "--format", "$(ORIGIN)|$(LABEL)|$(RELEASE)|$(REPO_URI)", "Created-By: Packages"]
    # Before the machine's first apt-get update it is only the second that lists anything.
    for option in ([], ["--no-release-info"]):
        done = subprocess.run(command + option, capture_output=True, text=True, check=False)
        if done.stdout:
            break
    return [line.split("|") for line in done.stdout.splitlines()]


def _mirrors() -> tuple[str, str | None]:
    """Returns the URIs of Debian's main and security archives as this machine is configured."""
    main = security = None
    for origin, label, release, uri in _index_targets():
        # Without release information the suite's name has to do.
        unknown = origin in ("", "$(ORIGIN)") and re.match(rf"({'|'.join(CODENAMES)}|(old)*stable)\b", release)
        if release.endswith("-security") and (unknown or label == "Debian-Security"):
            security = security or uri
        elif unknown or (origin, label) == ("Debian", "Debian"):
            main = main or uri
    if main is None:
        raise Failure(DOWNLOAD, "apt is not configured for a Debian archive: "
                                "apt-get indextargets lists none; see /etc/apt/sources.list*")
    return main, security
