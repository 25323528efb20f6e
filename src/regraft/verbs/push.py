"""push: a bundle or an export → a repository of the Hugging Face Hub, with its model card.

What goes up is known before: of an export the files that it tells itself, else the bundle and its
card. The token comes from the environment alone (HF_TOKEN); it is neither stored nor told.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from regraft.backbones.cache import file_hash, offline_mode
from regraft.data.paths import inside
from regraft.errors import RegraftError, UsageError
from regraft.export.at_hand import TOLD, at_hand
from regraft.export.bundle import read_bundle
from regraft.model.exported import RECORD, checked
from regraft.model.offered import Offered
from regraft.model.opening import model_in
from regraft.verbs.export import CARD, EXAMPLE, PROOF

TOKEN, ENDPOINT = "HF_TOKEN", "HF_ENDPOINT"
BUNDLE = "model.regraft"
USE = """
## Use

```
pip install regraft
regraft predict {address} FILE ...
```
"""

Files = Sequence[dict[str, Any]]


def push(
    model: str | Path,
    repository: str,
    *,
    private: bool = True,
    dry_run: bool = False,
    listed: Callable[[Files], None] = lambda files: None,
) -> dict[str, Any]:
    """Put a bundle, or an exported folder, into a repository that is made where there is none.

    repository  such as ``owner/name``
    private     whether a new repository is seen by its owner alone; one that is there stays as it
                is, and takes nothing where it is public and this is asked
    dry_run     nothing is sent, and the hub is not asked
    listed      is told what is sent, before anything is

    The model is read and checked before. Returns address, commit (None of a dry run) and files:
    name, bytes and SHA-256 each. Raises UsageError for a name that is none or a missing token,
    BundleError, RegraftError for what the hub answers.
    """
    token = os.environ.get(TOKEN, "")
    if mistakes := [*_mistakes(repository), *([] if dry_run else _unable(token))]:
        raise UsageError(*mistakes)
    path = at_hand(model)
    from huggingface_hub import HfApi

    api = HfApi(endpoint=os.environ.get(ENDPOINT) or None, token=token or False)
    address = f"{api.endpoint}/{repository}"
    with tempfile.TemporaryDirectory(prefix="regraft-") as made:
        folder = Path(made)
        fill = _fill_export if path.is_dir() else _fill_bundle
        name = fill(folder, path, f"{address}/resolve/main/{BUNDLE}")
        files = _told(folder)
        listed(files)
        commit = None if dry_run else _sent(api, repository, folder, private, name, token)
    return {"address": address, "private": private, "commit": commit, "files": files}


def _sent(api: Any, repository: str, folder: Path, private: bool, name: str, token: str) -> str:
    """The commit."""
    with _reasons(repository, token):
        api.create_repo(repository, private=private, exist_ok=True)
        is_private = api.model_info(repository).private
    if private and not is_private:
        raise RegraftError(
            f"{repository}: is there already, and everybody sees it; say --public (private=False) "
            "where all may have this model, or name another one; nothing was sent"
        )
    with _reasons(repository, token):
        done = api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message=f"Regraft: {name}"
        )
    return str(done.oid)


def _mistakes(repository: str) -> Iterator[str]:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repository)
        is_name = repository.count("/") == 1
    except HFValidationError:
        is_name = False
    if not is_name:
        yield f"repository: {repository!r:.100} is no name of one; expected owner/name"


def _unable(token: str) -> Iterator[str]:
    if not token:
        yield (
            f"{TOKEN}: is not set; put a token of the hub that may write into the environment "
            "variable, or look first with --dry-run"
        )
    if offline_mode():
        yield "nothing is sent offline (REGRAFT_OFFLINE or HF_HUB_OFFLINE is set)"


def _fill_bundle(folder: Path, path: Path, address: str) -> str:
    """The bundle and its card; the name of the model."""
    shutil.copyfile(path, folder / BUNDLE)
    bundle = read_bundle(folder / BUNDLE)  # what is sent is what was read
    offered = Offered(model_in(bundle), bundle.sha256[:12])
    card = offered.card() + USE.format(address=address)
    (folder / CARD).write_text(card, encoding="utf-8")
    return offered.name


def _fill_export(folder: Path, path: Path, address: str) -> str:
    """Of an export its own files and no other, unopened; the name of the model."""
    told, _ = checked(path)
    beside = [name for name in (TOLD, RECORD, PROOF, CARD, EXAMPLE) if (path / name).is_file()]
    for name in (*told["files"], *beside):
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(inside(path, name), place)
    _, record = checked(folder)
    return str(record.get("name") or "model")


def _told(folder: Path) -> Files:
    some = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        {
            "name": one.relative_to(folder).as_posix(),
            "bytes": one.stat().st_size,
            "sha256": file_hash(one),
        }
        for one in some
    ]


@contextmanager
def _reasons(repository: str, token: str) -> Iterator[None]:
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except HfHubHTTPError as error:
        reason = error.server_message or (str(error).splitlines() or ["no reason told"])[0]
        told = f"the hub refuses: {reason:.300}"
    except Exception as error:  # its HTTP client has errors of its own, and has changed before
        told = f"the hub cannot be reached: {type(error).__name__}: {error!s:.200}"
    else:
        return
    raise RegraftError(f"{repository}: {told.replace(token, '…')}")
