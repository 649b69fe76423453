"""`make release-check`: what a release must not go without."""

import os
import re
import shutil
import subprocess

import pytest

from harness.fronts import ROOT

DATED = re.compile(r"^## \[Unreleased\]$", re.MULTILINE)


@pytest.fixture
def tree(tmp_path):
    """What it looks at, with everything filled in."""
    cargo = (ROOT / "Cargo.toml").read_text()
    (version,) = re.findall(r'^version = "(.*)"$', cargo, re.MULTILINE)
    cargo = re.sub(r'"https://forkserve\.invalid/', '"https://forkserve.example/', cargo)
    (tmp_path / "Cargo.toml").write_text(cargo)
    changes = DATED.sub(f"## [{version}] - 2026-01-02", (ROOT / "CHANGELOG.md").read_text())
    (tmp_path / "CHANGELOG.md").write_text(changes)
    shutil.copy(ROOT / "tools/release-check.sh", tmp_path)
    return tmp_path


def check(tree, maintainer="Somebody <somebody@forkserve.example>"):
    """The lines of what is left to do."""
    done = subprocess.run(
        ["./release-check.sh"],
        check=False,
        cwd=tree,
        env={**os.environ, "MAINTAINER": maintainer},
        stderr=subprocess.PIPE,
        text=True,
        timeout=20,
    )
    lines = done.stderr.splitlines()
    assert done.returncode == bool(lines)
    return lines


def test_a_release_that_has_everything_passes(tree):
    assert check(tree) == []


@pytest.mark.parametrize("key", ["repository", "homepage", "documentation"])
@pytest.mark.parametrize("value", ["https://forkserve.invalid/", "", "somewhere"])
def test_each_address_must_be_filled_in(tree, key, value):
    path = tree / "Cargo.toml"
    text = re.sub(rf'^{key} = ".*"$', f'{key} = "{value}"', path.read_text(), flags=re.M)
    path.write_text(text)
    (line,) = check(tree)
    assert f"Cargo.toml: {key} " in line


def test_the_changes_must_have_the_version_and_a_date(tree):
    shutil.copy(ROOT / "CHANGELOG.md", tree)
    (line,) = check(tree)
    assert line.startswith("release-check: CHANGELOG.md: no heading")


@pytest.mark.parametrize("who", ["", "The forkserve authors <forkserve@example.org>"])
def test_somebody_must_answer_for_the_packages(tree, who):
    (line,) = check(tree, who)
    assert "MAINTAINER" in line
