"""Upload what a pipeline saves to the hub."""

from __future__ import annotations

from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import CommitInfo, HfApi

__all__ = ["push_folder"]


def push_folder(
    save: Callable[..., None],
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str = "Upload model",
    **options: Any,
) -> CommitInfo:
    """Create the repository if needed and upload a folder that `save(folder, **options)` writes."""
    hub = HfApi(token=token)
    with TemporaryDirectory(prefix="vidweave-") as folder:
        save(folder, **options)
        repository = hub.create_repo(repo_id, private=private, exist_ok=True).repo_id
        commit = {"revision": revision, "create_pr": create_pr, "commit_message": commit_message}
        return hub.upload_folder(repo_id=repository, folder_path=folder, **commit)
