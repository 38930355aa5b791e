"""Node.js and packages of npm for tests of what we publish for JavaScript."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest


def installed(folder: Path, packages: dict[str, str]) -> Path:
    """`folder` with `packages` (name -> version) installed; skips the test where node, npm or the registry is away."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs node and npm")
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"private": True, "type": "module", "dependencies": packages}
    (folder / "package.json").write_text(json.dumps(manifest))
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode != 0:
        pytest.skip(f"needs the npm packages {', '.join(packages)}: {done.stderr.strip().splitlines()[-1:]}")
    return folder
