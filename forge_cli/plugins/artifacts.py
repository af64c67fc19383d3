"""``forge://organisation/name@version/path`` for MLflow: artifacts and models, to be read.

MLflow takes the last part of a URL for the path within a repository, so that ``forge://org`` with
``name@1.0.0`` in it is the release: both are joined again before anything is read out of them.
"""

from __future__ import annotations

import shutil
from typing import Any, NoReturn

from mlflow.entities import FileInfo
from mlflow.store.artifact.artifact_repo import ArtifactRepository

from ..api import Registry
from ..api.errors import read_only, refuses
from ..reference import split_url
from .listing import folders_of, info_of


class ForgeArtifactRepository(ArtifactRepository):
    """The releases below ``artifact_uri``, in the registry that `forge` would choose."""

    def __init__(self, artifact_uri: str, *args: Any, **options: Any) -> None:
        super().__init__(artifact_uri, *args, **options)
        self._registry = Registry()

    @refuses
    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        """What is in the folder ``path``, below the repository's root; of a file nothing."""
        reference, inner = self._place(path)
        folders = folders_of(self._registry.release(reference))
        if inner not in folders:
            info_of(folders, reference, inner)
            return []
        above = f"{path.rstrip('/')}/" if path else ""
        here = f"{inner}/" if inner else ""
        return [
            FileInfo(
                above + each["name"].removeprefix(here),
                each["type"] == "directory",
                each["size"] if each["type"] == "file" else None,
            )
            for each in folders[inner]
        ]

    def download_artifacts(self, artifact_path: str | None, dst_path: str | None = None) -> str:
        """Copies of the file or folder, all of which was verified before the first is made."""
        self._registry.path(*self._place(artifact_path))
        done: str = super().download_artifacts(artifact_path, dst_path)
        return done

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        reference, inner = self._place(remote_file_path)
        with self._registry.open(reference, inner) as file, open(local_path, "wb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)

    @refuses
    def _place(self, path: str | None) -> tuple[str, str]:
        root = self.artifact_uri.rstrip("/")
        return split_url(f"{root}/{path}" if path else root)

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> NoReturn:
        raise read_only(self.artifact_uri)

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> NoReturn:
        raise read_only(self.artifact_uri)

    def delete_artifacts(self, artifact_path: str | None = None) -> NoReturn:
        raise read_only(self.artifact_uri)
