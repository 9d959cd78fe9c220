"""A small Hugging Face hub on loopback: repositories, large files, commits and tags, for one user and one token."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.loopback import serve

USER, TOKEN = "ada", "hf_" + "a" * 34
DATE = "2026-01-01T00:00:00.000Z"
LARGE = (".onnx",)
KINDS = {"models": "", "spaces": "spaces/"}


@dataclass(frozen=True)
class Commit:
    """A state of a repository."""

    oid: str
    title: str
    files: dict[str, bytes]


@dataclass
class Repository:
    """The history of a repository, oldest first, and its tags."""

    private: bool
    sdk: str | None = None
    commits: list[Commit] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1].files

    def find(self, revision: str) -> Commit | None:
        wanted = self.commits[-1].oid if revision == "main" else self.tags.get(revision, revision)
        return next((commit for commit in self.commits if commit.oid == wanted), None)

    def add(self, title: str, files: dict[str, bytes]) -> Commit:
        oid = hashlib.sha1(f"{len(self.commits)}{title}".encode()).hexdigest()
        self.commits.append(Commit(oid, title, files))
        return self.commits[-1]


@dataclass(frozen=True)
class File:
    """A file as a commit has it."""

    content: bytes
    commit: str


class RefusalError(Exception):
    """An answer other than 200: its status, a message, and the code that the hub names."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        self.status, self.code = status, code
        super().__init__(message)


class Hub:
    """What the server remembers. `limit` is the size of a file, `plan` whether Docker Spaces may be made."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.large: dict[str, bytes] = {}
        self.limit = 10**9
        self.plan = True
        self.breaks_at = ""
        self.asked: list[str] = []
        self.url = ""

    def model(self, name: str) -> Repository:
        return self.repositories["models", name]

    def answer(self, method: str, path: str, body: bytes, token: str) -> Any:  # noqa: PLR0911
        self.asked.append(f"{method} {path}")
        if self.breaks_at and re.search(self.breaks_at, path):
            raise RefusalError(500, "Internal Error")
        if path.startswith("/large/"):
            self.large[path.removeprefix("/large/")] = body
            return {}
        read = re.fullmatch(r"/(spaces/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if token != TOKEN and not (read and not self._find("spaces" if read[1] else "models", read[2]).private):
            raise RefusalError(401, "Invalid username or password.")
        if read:
            return self._read("spaces" if read[1] else "models", read[2], read[3], read[4])
        if path == "/api/whoami-v2":
            return {"type": "user", "name": USER, "orgs": []}
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": []}
        if path.startswith("/api/repos/"):
            return self._change(path.rpartition("/")[2], json.loads(body))
        if found := re.fullmatch(r"/(spaces/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            self._find("spaces" if found[1] else "models", found[2])
            return {"transfer": "basic", "objects": [self._offer(item) for item in json.loads(body)["objects"]]}
        if found := re.fullmatch(r"/api/(models|spaces)/([^/]+/[^/]+)(?:/(.+))?", path):
            return self._ask(method, found[1], found[2], found[3] or "", body)
        raise RefusalError(404, f"Not Found: {path}")

    def _change(self, action: str, asked: dict[str, Any]) -> Any:
        kind, owner = f"{asked.get('type', 'model')}s", asked.get("organization") or USER
        name = f"{owner}/{asked['name']}"
        if owner != USER:
            raise RefusalError(
                403, f"You don't have the rights to {action} a {kind[:-1]} under the namespace {owner!r}"
            )
        if action == "delete":
            self._find(kind, name)
            del self.repositories[kind, name]
            return {}
        if kind == "spaces" and not self.plan:
            raise RefusalError(402, "Docker Spaces need a PRO subscription")
        repository = Repository(asked.get("visibility") == "private", asked.get("sdk"))
        repository.add("initial commit", {".gitattributes": b"*.onnx filter=lfs diff=lfs merge=lfs -text\n"})
        self.repositories[kind, name] = repository
        return {"url": f"{self.url}/{KINDS[kind]}{name}"}

    def _find(self, kind: str, name: str) -> Repository:
        if (kind, name) not in self.repositories:
            raise RefusalError(404, "Repository not found", "RepoNotFound")
        return self.repositories[kind, name]

    def _offer(self, item: dict[str, Any]) -> dict[str, Any]:
        known = {"oid": item["oid"], "size": item["size"]}
        if item["size"] > self.limit:
            return {**known, "error": {"code": 413, "message": f"over the limit of {self.limit} bytes"}}
        upload = {"href": f"{self.url}/large/{item['oid']}"}
        return known if item["oid"] in self.large else {**known, "actions": {"upload": upload}}

    def _read(self, kind: str, name: str, revision: str, path: str) -> "File":
        commit = self._find(kind, name).find(revision)
        if commit is None or path not in commit.files:
            raise RefusalError(404, "Entry not found", "EntryNotFound")
        return File(commit.files[path], commit.oid)

    def _ask(self, method: str, kind: str, name: str, rest: str, body: bytes) -> Any:  # noqa: PLR0911
        repository = self._find(kind, name)
        verb, _, argument = rest.partition("/")
        commit = repository.find(argument or "main")
        owned = name.startswith(f"{USER}/")
        if verb in {"preupload", "commit", "tag"} and not owned:
            raise RefusalError(403, "Forbidden: you have no write access to this repository")
        match verb:
            case "" | "revision" if commit is not None:
                siblings = [{"rfilename": path} for path in commit.files]
                return {"id": name, "sha": commit.oid, "private": repository.private, "tags": [], "siblings": siblings}
            case "refs":
                tags = [{"name": k, "ref": f"refs/tags/{k}", "targetCommit": v} for k, v in repository.tags.items()]
                return {"branches": [], "converts": [], "tags": tags}
            case "commits":
                listed = [(item.oid, item.title) for item in reversed(repository.commits)]
                return [{"id": o, "title": t, "message": "", "authors": [], "date": DATE} for o, t in listed]
            case "tree" | "paths-info" if commit is not None:
                paths = parse_qs(body.decode())["paths"] if verb == "paths-info" else commit.files
                return [_describe(path, commit.files[path]) for path in paths if path in commit.files]
            case "preupload":
                names = [item["path"] for item in json.loads(body)["files"]]
                modes = {name: "lfs" if name.endswith(LARGE) else "regular" for name in names}
                return {"files": [{"path": n, "uploadMode": m, "shouldIgnore": False} for n, m in modes.items()]}
            case "commit":
                made = self._commit(repository, [json.loads(line) for line in body.splitlines()])
                return {"commitUrl": f"{self.url}/{name}/commit/{made.oid}", "commitOid": made.oid}
            case "tag" if method == "DELETE":
                del repository.tags[argument]
                return {}
            case "tag":
                repository.tags[json.loads(body)["tag"]] = argument
                return {}
        raise RefusalError(404, f"Not Found: {rest}", "RevisionNotFound")

    def _commit(self, repository: Repository, lines: list[dict[str, Any]]) -> Commit:
        files = dict(repository.files)
        for line in lines[1:]:
            value = line["value"]
            match line["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.large[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        return repository.add(lines[0]["value"]["summary"], files)


def _describe(path: str, content: bytes) -> dict[str, Any]:
    oid = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    described = {"type": "file", "path": path, "size": len(content), "oid": oid}
    if path.endswith(LARGE):
        described["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return described


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        token = (self.headers.get("authorization") or "").removeprefix("Bearer ")
        path = unquote(urlsplit(self.path).path)
        try:
            found = self.server.hub.answer(self.command, path, body, token)
        except RefusalError as error:
            self._send(error.status, json.dumps({"error": str(error)}).encode(), {"x-error-code": error.code})
            return
        if isinstance(found, File):
            digest = hashlib.sha256(found.content).hexdigest()
            self._send(200, found.content, {"etag": f'"{digest}"', "x-repo-commit": found.commit})
        else:
            self._send(200, json.dumps(found).encode(), {"content-type": "application/json"})

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(content))}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def run_hub() -> Iterator[Hub]:
    """Yield a hub that answers on a free port of loopback."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.hub = hub
    with serve(server) as hub.url:
        yield hub
