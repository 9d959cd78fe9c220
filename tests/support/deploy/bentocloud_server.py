"""A small BentoCloud on loopback: stores of models and Bentos, secrets and deployments, for one token."""

import io
import json
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.support.loopback import serve

TOKEN = "bento-token"
DATE = "2026-01-01T00:00:00Z"
USER = {"name": "ada", "email": "ada@example.org", "first_name": "Ada", "last_name": "L"}


def name_resource(name: str, kind: str, **more: Any) -> dict[str, Any]:
    """Return what every resource of the API carries."""
    dates = {"created_at": DATE, "updated_at": DATE, "deleted_at": None}
    return {"uid": f"{kind}-{name}", **dates, "name": name, "resource_type": kind, "labels": [], **more}


CLUSTER = name_resource("default-cluster", "cluster", description="", organization_name="org", creator=USER)
UNSENT = {"image_build_status": "pending", "upload_status": "pending", "upload_finished_reason": ""}
NO_URLS = {"presigned_upload_url": "", "presigned_download_url": "", "transmission_strategy": "proxy"}
STORE = r"/api/v1/(model|bento)_repositories(?:/([^/]+))?(?:/(?:models|bentos)(?:/(.+))?)?"


class RefusalError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class Cloud:
    """What the server remembers. A deployment runs after it was asked about `patience` times."""

    def __init__(self) -> None:
        self.stores: dict[str, dict[str, dict[str, dict[str, Any]]]] = {"model": {}, "bento": {}}
        self.archives: dict[str, bytes] = {}
        self.secrets: dict[str, list[str]] = {}
        self.deployments: dict[str, dict[str, Any]] = {}
        self.bodies: list[tuple[str, dict[str, Any]]] = []
        self.ends_as = "running"
        self.refuses = ""
        self.url = ""

    def read_files(self, name: str) -> dict[str, bytes]:
        """Return the files of a model or Bento that was uploaded."""
        with tarfile.open(fileobj=io.BytesIO(self.archives[name])) as archive:
            return {item.name.removeprefix("./"): archive.extractfile(item).read() for item in archive if item.isfile()}

    def answer(self, method: str, path: str, body: bytes, token: str) -> Any:
        if token != TOKEN:
            raise RefusalError(401, '{"error":"Unauthorized"}')
        if path == "/api/v1/auth/current":
            return USER
        if found := re.fullmatch(r"/api/v1/org_secrets/(.+)", path):
            if found[1] not in self.secrets:
                raise RefusalError(404, '{"error":"record not found"}')
            items = [{"key": key, "sub_path": None, "value": None} for key in self.secrets[found[1]]]
            content = {"type": "env", "items": items, "path": None, "stage": "runtime"}
            return name_resource(found[1], "secret", description="", creator=USER, content=content, cluster=CLUSTER)
        if found := re.fullmatch(
            r"/api/v1/(model|bento)_repositories(?:/([^/]+))?(?:/(?:models|bentos)(?:/(.+))?)?", path
        ):
            return self._store(method, found[1], found[2], found[3], path.endswith(("/models", "/bentos")), body)
        if found := re.fullmatch(r"/api/v2/deployments(?:/([^/]+))?(/terminate)?", path):
            return self._deploy(method, found[1], bool(found[2]), body)
        raise RefusalError(404, f"not found: {path}")

    def _store(self, method: str, kind: str, name: str | None, rest: str | None, adds: bool, body: bytes) -> Any:
        store = self.stores[kind]
        latest = {f"latest_{kind}": None, "description": ""}
        if name is None:
            name = json.loads(body)["name"]
            store[name] = {}
            return name_resource(name, f"{kind}_repository", **latest)
        if name not in store:
            raise RefusalError(404, "record not found")
        if adds:
            asked = json.loads(body)
            about = {"description": "", "version": asked["version"], "manifest": asked["manifest"]}
            store[name][asked["version"]] = name_resource(asked["version"], kind, **about, **UNSENT, **NO_URLS)
            return store[name][asked["version"]]
        if rest is None:
            return name_resource(name, f"{kind}_repository", **latest)
        version, _, action = rest.partition("/")
        if version not in store[name]:
            raise RefusalError(404, "record not found")
        if action == "upload":
            self.archives[f"{name}:{version}"] = body
            store[name][version]["upload_status"] = "success"
            return {}
        return store[name][version]

    def _deploy(self, method: str, name: str | None, terminates: bool, body: bytes) -> Any:
        if method in {"POST", "PUT"} and not terminates:
            if self.refuses:
                raise RefusalError(400, self.refuses)
            config = json.loads(body)
            self.bodies.append((method, config))
            name = name or config["name"]
            urls = [f"https://{name}.bentocloud.example"]
            states = ["image-building", "deploying", self.ends_as]
            self.deployments[name] = {"states": states, "urls": urls, "config": config}
        if name not in self.deployments:
            raise RefusalError(404, '{"error":"record not found"}')
        held = self.deployments[name]
        if terminates:
            held["states"] = ["terminating", "terminated"]
        status = held["states"].pop(0) if len(held["states"]) > 1 else held["states"][0]
        if method == "DELETE":
            assert status == "terminated", "a deployment that runs is not deleted"
            del self.deployments[name]
        about = {"status": status, "kube_namespace": "org", "creator": USER, "cluster": {**CLUSTER, "is_first": True}}
        return name_resource(name, "deployment", **about, latest_revision=None, manifest=None, urls=held["urls"])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        body = self._read()
        path, token = urlsplit(self.path).path, self.headers.get("x-yatai-api-token") or ""
        try:
            status, said = 200, json.dumps(self.server.cloud.answer(self.command, path, body, token)).encode()
        except RefusalError as error:
            status, said = error.status, str(error).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

    def _read(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def run_cloud() -> Iterator[Cloud]:
    """Yield a cloud that answers on a free port of loopback."""
    cloud = Cloud()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.cloud = cloud
    with serve(server) as cloud.url:
        yield cloud
