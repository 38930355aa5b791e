"""The objects that a folder of deploy/kubernetes makes, as its kustomization lists them."""

from pathlib import Path
from typing import Any

import yaml

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"


def kustomization_of(folder: str) -> dict[str, Any]:
    """The kustomization of a folder of deploy/kubernetes, such as `base`."""
    listed: dict[str, Any] = yaml.safe_load((KUBERNETES / folder / "kustomization.yaml").read_text(encoding="utf-8"))
    return listed


def objects_of(folder: str) -> list[dict[str, Any]]:
    """The objects of the files that a folder lists itself, not those of folders it refers to."""
    files = [KUBERNETES / folder / name for name in kustomization_of(folder)["resources"] if name.endswith(".yaml")]
    return [each for file in files for each in yaml.safe_load_all(file.read_text(encoding="utf-8"))]
