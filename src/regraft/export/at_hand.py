"""Where a model lies: here, at an address that the user names, or zipped as an exported folder."""

import hashlib
import os
import re
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from regraft.backbones.cache import cache_folder, file_hash, offline_mode
from regraft.data.paths import inside
from regraft.errors import BundleError, RegraftError
from regraft.export.archive import MAX_ARCHIVE, MAX_CONTENT, MAX_ENTRIES

ADDRESS = re.compile(r"(https?):/{1,2}([^/].*)", re.IGNORECASE | re.DOTALL)
PIN = re.compile(r"sha256=([0-9a-f]{64})")
LOCAL = ("localhost", "127.0.0.1", "::1")  # may be reached without TLS
SECONDS = 30.0  # without a byte, until a server counts as gone
PIECE = 1 << 20
TOLD = "export.json"  # what every exported folder holds


def at_hand(place: str | Path) -> Path:
    """The bundle or the exported folder itself, fetched or unzipped into the cache where need be.

    place  a path, or an address ``https://…/model.regraft``, maybe with ``#sha256=<64 digits>``:
           then a copy that was fetched before is taken, and nothing else is accepted

    Raises BundleError.
    """
    found = ADDRESS.fullmatch(str(place))
    path = Path(place) if found is None else _fetched(f"{found[1].lower()}://{found[2]}")
    return _unzipped(path) if _is_zipped_export(path) else path


# From an address ---------------------------------------------------------------------------------


def _fetched(address: str) -> Path:
    parts = urlsplit(address)
    if parts.scheme != "https" and parts.hostname not in LOCAL:
        raise BundleError(f"{address}: is not encrypted; name an https address")
    wanted = _pin(address, parts.fragment)
    folder = cache_folder("fetched")
    kept = folder / (wanted or hashlib.sha256(address.encode()).hexdigest())
    if wanted and kept.is_file() and file_hash(kept) == wanted:
        return kept
    if offline_mode():
        raise BundleError(f"{address}: nothing is fetched offline (REGRAFT_OFFLINE); name a file")
    with _reasons(address), tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        try:
            for piece in _pieces(address):
                file.write(piece)
            file.close()
            _refuse_another(address, Path(file.name), wanted)
            os.replace(file.name, kept)
        finally:
            Path(file.name).unlink(missing_ok=True)
    return kept


def _pin(address: str, fragment: str) -> str:
    if fragment and not PIN.fullmatch(fragment):
        raise BundleError(f"{address}: after # only sha256=<64 digits of 0-9 a-f> is expected")
    return fragment.removeprefix("sha256=")


class _Encrypted(urllib.request.HTTPRedirectHandler):
    """An address may send elsewhere, but not from TLS to none."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise BundleError(f"{req.full_url}: sends on to {newurl:.200}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _pieces(address: str) -> Iterator[bytes]:
    opener = urllib.request.build_opener(_Encrypted())
    answer: HTTPResponse
    with opener.open(address.partition("#")[0], timeout=SECONDS) as answer:
        told, count = answer.headers.get("Content-Length", ""), 0
        while piece := answer.read(PIECE):
            count += len(piece)
            if count > MAX_ARCHIVE:
                raise BundleError(f"{address}: has more than {MAX_ARCHIVE:,} bytes")
            yield piece
        if told.isdigit() and int(told) != count:
            raise BundleError(f"{address}: ended after {count:,} of {told} bytes; fetch it again")


def _refuse_another(address: str, path: Path, wanted: str) -> None:
    if wanted and (found := file_hash(path)) != wanted:
        raise BundleError(f"{address}: another file is there now, with SHA-256 {found}")


@contextmanager
def _reasons(address: str) -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError as error:
        raise BundleError(f"{address}: the server answers {error.code} {error.reason}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise BundleError(f"{address}: cannot be fetched: {reason!s:.200}") from None


# From a ZIP archive of an exported folder --------------------------------------------------------


def _is_zipped_export(path: Path) -> bool:
    """A sealed bundle is a ZIP archive too, but has no such entry."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.rpartition("/")[2] == TOLD for name in archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        return False  # the reader of bundles tells what is wrong


def _unzipped(path: Path) -> Path:
    """A folder of the cache that is named by the archive's SHA-256; written once, and whole."""
    target = cache_folder("unzipped") / file_hash(path)
    if target.is_dir():
        return target
    aside = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in _entries(path, archive):
                name = entry.filename.rpartition("/")[2]
                with archive.open(entry) as source:
                    _write(path, inside(aside, name), source, entry)
        if not target.is_dir():
            aside.rename(target)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
        raise BundleError(f"{path}: cannot be unzipped: {error!s:.200}") from None
    except RegraftError as error:
        raise BundleError(f"{path}: {error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _entries(path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Its files, all in one folder. Raises BundleError."""
    found = [entry for entry in archive.infolist() if not entry.is_dir()]
    folders = {entry.filename.rpartition("/")[0] for entry in found}
    names = {entry.filename for entry in found}
    if len(found) > MAX_ENTRIES or sum(entry.file_size for entry in found) > MAX_CONTENT:
        raise BundleError(f"{path}: is too large for an export that `regraft export` wrote")
    if len(folders) != 1 or len(names) < len(found):
        raise BundleError(f"{path}: zip the files of one exported folder, each once")
    return found


def _write(path: Path, target: Path, source: IO[bytes], entry: zipfile.ZipInfo) -> None:
    """One file, no longer than the archive says."""
    left = entry.file_size
    with open(target, "xb") as file:
        while piece := source.read(min(PIECE, left + 1)):
            left -= len(piece)
            if left < 0:
                raise BundleError(f"{path}: {entry.filename} is longer than the archive says")
            file.write(piece)
