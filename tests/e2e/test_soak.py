"""The soak, which takes an hour when it is meant, for a moment: that it can be run at all."""

import subprocess

import pytest

from harness.fronts import ROOT

SOAK = ROOT / "target/debug/forkserve-bench"


@pytest.mark.timeout(120)
def test_each_way_to_run_is_soaked():
    done = subprocess.run(
        [SOAK, "soak", "--count", "20", "--seed", "1"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines()[2:]]
    modes = {"run", "dispatch", "step", "start"}
    assert {row[1].split()[0] for row in rows} == modes
    # Each way to run in each process model, but for a step with reuse.
    assert len(rows) == 3 * len(modes) - 1
    assert all((row[2].strip(), row[-2].strip()) == ("20", "0") for row in rows)
