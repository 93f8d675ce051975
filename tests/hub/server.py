"""Folders served as hub repositories: the part of the HTTP interface that reading calls.

``ROOT/datasets/OWNER/NAME`` and ``ROOT/models/OWNER/NAME``; every request is kept in ``Server.asked``.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_ABOUT = re.compile(
    r"/api/(datasets|models)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.*))?)?$"
)
_FILE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)$")
_DATE = "2026-01-01T00:00:00.000Z"


@lru_cache(maxsize=4096)
def _sha256(file: Path, size: int, changed: int) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def commit(folder: Path) -> str:
    """What a repository's newest commit is: a function of its files."""
    state = [(path.relative_to(folder).as_posix(), _identity(path)) for path in _files(folder)]
    return hashlib.sha1(json.dumps(state).encode()).hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _identity(path: Path) -> str:
    state = path.stat()
    return _sha256(path, state.st_size, state.st_mtime_ns)


def _entry(folder: Path, path: Path) -> dict[str, Any]:
    digest, size = _identity(path), path.stat().st_size
    entry: dict[str, Any] = {"type": "file", "oid": digest[:40], "size": size}
    entry["path"] = path.relative_to(folder).as_posix()
    if path.suffix in (".parquet", ".safetensors"):
        entry["lfs"] = {"oid": digest, "size": size, "pointerSize": 130}
    return entry


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, *words: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        if found := _ABOUT.match(path):
            self._about(found, parse_qs(parts.query))
        elif found := _FILE.match(path):
            self._file(found)
        else:
            self._missing("RepoNotFound")

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(f"{self.command} {self.path}")
        found = _ABOUT.match(unquote(urlsplit(self.path).path))
        folder = self._repository(found[1], found[2]) if found else None
        if folder is None or found is None or found[3] != "paths-info":
            self._missing("RepoNotFound")
            return
        json_sent = "json" in self.headers.get("Content-Type", "")
        asked = json.loads(body)["paths"] if json_sent else parse_qs(body.decode()).get("paths", [])
        entries = []
        for name in [asked] if isinstance(asked, str) else asked:
            path = folder / name
            if path.is_file():
                entries.append(_entry(folder, path))
            elif path.is_dir():
                entries.append({"type": "directory", "oid": "0" * 40, "size": 0, "path": name})
        self._json(entries)

    def _repository(self, kind: str, name: str) -> Path | None:
        folder = (self.server.root / kind / name).resolve()
        return folder if self.server.root in folder.parents and folder.is_dir() else None

    def _json(self, value: Any, code: int = 200, **headers: str) -> None:
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _missing(self, code: str) -> None:
        self._json({"error": code}, 404, X_Error_Code=code, X_Error_Message=code)

    def _about(self, found: re.Match[str], query: dict[str, list[str]]) -> None:
        folder = self._repository(found[1], found[2])
        if folder is None:
            self._missing("RepoNotFound")
            return
        if found[3] == "tree":
            base = folder / (found[5] or "")
            if not base.is_dir():
                self._missing("EntryNotFound")
                return
            deep = query.get("recursive", ["false"])[0].lower() in ("true", "1")
            paths = sorted(base.rglob("*") if deep else base.iterdir())
            folders = {"type": "directory", "oid": "0" * 40, "size": 0}
            self._json(
                [
                    _entry(folder, path)
                    if path.is_file()
                    else {**folders, "path": path.relative_to(folder).as_posix()}
                    for path in paths
                ]
            )
            return
        if found[3] == "revision" and found[4] not in ("main", commit(folder)):
            self._missing("RevisionNotFound")
            return
        siblings = []
        for entry in (_entry(folder, path) for path in _files(folder)):
            sibling = {"rfilename": entry["path"], "size": entry["size"], "blobId": entry["oid"]}
            if "lfs" in entry:
                sibling["lfs"] = {"sha256": entry["lfs"]["oid"], "size": entry["size"], "pointerSize": 130}
            siblings.append(sibling)
        self._json(
            {
                "_id": "0" * 24, "id": found[2], "modelId": found[2], "author": found[2].split("/")[0],
                "sha": commit(folder), "lastModified": _DATE, "createdAt": _DATE, "private": False, "gated": False,
                "disabled": False, "downloads": 0, "likes": 0, "tags": [], "cardData": {}, "siblings": siblings,
                "usedStorage": 0,
            }
        )  # fmt: skip

    def _file(self, found: re.Match[str]) -> None:
        folder = self._repository("datasets" if found[1] else "models", found[2])
        if folder is None:
            self._missing("RepoNotFound")
            return
        path = (folder / found[4]).resolve()
        broken = self.server.broken
        if folder not in path.parents or not path.is_file() or (broken and broken in found[4]):
            self._missing("EntryNotFound")
            return
        data = path.read_bytes()
        start, end = 0, len(data)
        part = re.match(r"bytes=(\d*)-(\d*)$", self.headers.get("Range", ""))
        if part:
            start = int(part[1]) if part[1] else max(0, len(data) - int(part[2]))
            end = min(len(data), int(part[2]) + 1) if part[1] and part[2] else len(data)
        self.send_response(206 if part else 200)
        headers = {
            "Content-Length": end - start,
            "Accept-Ranges": "bytes",
            "ETag": f'"{_identity(path)}"',
            "X-Repo-Commit": commit(folder),
            "X-Linked-Size": len(data),
            "X-Linked-Etag": f'"{_identity(path)}"',
            "Content-Type": "application/octet-stream",
        }
        if part:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[start:end])


class Server(ThreadingHTTPServer):
    """A hub that serves ``root`` in a thread until it is closed; ``address`` is what HF_ENDPOINT should say.

    Files whose path has ``broken`` in it are not given.
    """

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root.resolve()
        self.asked: list[str] = []
        self.broken = ""
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        self.shutdown()
        self.server_close()
