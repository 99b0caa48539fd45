"""Onboarding as its guide tells it: the shell's example runs as it stands, and what it sends arrives."""

import re
import subprocess
from pathlib import Path

from tests import hub
from tests.hub import Demo, eventually

GUIDE = hub.ROOT / "docs/onboarding.md"
MARK = "<!-- tests/system/test_onboarding.py runs this -->\n```sh\n"


def test_a_device_claims_its_credentials_with_the_guides_commands(demo: Demo, tmp_path: Path) -> None:
    code = demo.ask("POST", "fleets/main/claims/", json={})
    script = GUIDE.read_text(encoding="utf-8").partition(MARK)[2].partition("```")[0]
    script = re.sub(r"^qr=.*$", f"qr='{code['url']}'", script, flags=re.MULTILINE)
    asked, _, sent = script.partition("field() {")
    subprocess.run(["bash", "-e", "-c", asked], check=True, cwd=tmp_path, timeout=hub.PATIENCE_S)

    def arrived() -> bool:  # the broker may not know it in the first moment
        ended = subprocess.run(
            ["bash", "-e", "-c", f"key=pump-7\nfield() {{{sent}"],
            check=False,
            cwd=tmp_path,
            capture_output=True,
            timeout=hub.PATIENCE_S,
        )
        return ended.returncode == 0

    eventually(arrived)
    eventually(lambda: [row[2] for row in demo.frames("pump-7")][:1] == [{"temperature": 21.5}])
    state = demo.ask("GET", f"fleets/main/claims/{code['id']}/")
    assert (state["state"], state["device"]) == ("claimed", "pump-7")
