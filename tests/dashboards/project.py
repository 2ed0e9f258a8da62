# SPDX-License-Identifier: Apache-2.0
"""What the tests of dashboards read of the project."""

import json
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
RULES = [ROOT / "dashboards/rules" / name for name in ("recording.yml", "alerts.yml")]
RUNBOOKS = ROOT / "docs/runbooks"
BOARDS = sorted((ROOT / "dashboards").glob("*.json"))


def catalogue(build: Path) -> list[dict]:
    """The rows of the daemon's table of metrics."""
    return json.loads(subprocess.run([build / "tools/metric_catalogue"], check=True, capture_output=True).stdout)


def rules_text() -> str:
    """All rules, without comments."""
    return "".join(re.sub(r"^ *#.*$", "", path.read_text(), flags=re.M) for path in RULES)


def metrics_in_rules() -> set[str]:
    """The metrics that rules name; what they record themselves is none."""
    return set(re.findall(r"(?<![:\w])(?:pinwatch|process)_\w+", re.sub(r"name: \w+", "", rules_text())))


def commands(runbook: Path) -> list[str]:
    """The lines of a runbook's block of commands; the index has none."""
    block = re.search(r"```sh\n(.*?)```", runbook.read_text(), re.S)
    return block[1].splitlines() if block else []
