"""A stand-in of a Kubernetes API server, as far as kubectl's apply, get, rollout and delete ask one.

It keeps objects, and rolls a Deployment out at once; one whose image is named `broken` never becomes ready.
"""

import copy
import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.support.loopback import serve

Object = dict[str, Any]
BROKEN = "broken"
REVISION = "deployment.kubernetes.io/revision"
KINDS = {
    "v1": {"Namespace", "Service", "ServiceAccount", "ConfigMap", "Secret"},
    "apps/v1": {"Deployment", "StatefulSet", "ReplicaSet", "ControllerRevision"},
    "autoscaling/v2": {"HorizontalPodAutoscaler"},
    "policy/v1": {"PodDisruptionBudget"},
    "networking.k8s.io/v1": {"NetworkPolicy", "Ingress"},
    "monitoring.coreos.com/v1": {"ServiceMonitor", "PrometheusRule"},
}
PATH = re.compile(
    r"/(?:api|apis)/(?P<version>v1|[^/]+/[^/]+?)(?:/namespaces/(?P<space>[^/]+))?/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?"
)


def name_plural(kind: str) -> str:
    lower = kind.lower()
    return lower[:-1] + "ies" if lower.endswith("y") else lower + ("es" if lower.endswith("s") else "s")


class ApiServer(ThreadingHTTPServer):
    """Objects by version, plural, namespace and name."""

    daemon_threads = True

    def __init__(self, kinds: dict[str, set[str]]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.kinds = kinds
        self.objects: dict[tuple[str, str, str, str], Object] = {}
        self.lock = threading.RLock()

    def put(self, version: str, kind: str, space: str, name: str) -> None:
        """Make an object that somebody else made."""
        made = {"apiVersion": version, "kind": kind, "metadata": {"name": name}}
        self.store(version, name_plural(kind), space, made)

    def find(self, version: str, plural: str, space: str) -> list[Object]:
        with self.lock:
            return [found for key, found in self.objects.items() if key[:3] == (version, plural, space)]

    def store(self, version: str, plural: str, space: str, made: Object) -> Object:
        with self.lock:
            metadata = made["metadata"]
            metadata.setdefault("uid", str(uuid.uuid4()))
            metadata["resourceVersion"] = str(int(metadata.get("resourceVersion", "0")) + 1)
            if space:
                metadata["namespace"] = space
            self.objects[version, plural, space, metadata["name"]] = made
            if plural == "deployments":
                self.roll_out(space, made)
            return made

    def roll_out(self, space: str, deployment: Object) -> None:
        """Do what the controller of Deployments does."""
        metadata, template = deployment["metadata"], deployment["spec"]["template"]
        metadata["generation"] = metadata.get("generation", 0) + 1
        owned = [
            found
            for found in self.find("apps/v1", "replicasets", space)
            if found["metadata"]["ownerReferences"][0]["uid"] == metadata["uid"]
        ]
        same = [found for found in owned if found["spec"]["template"]["spec"] == template["spec"]]
        numbers = [int(found["metadata"]["annotations"][REVISION]) for found in owned]
        if not same:
            same = [_make_replica_set(deployment, max(numbers, default=0) + 1)]
            self.store("apps/v1", "replicasets", space, same[0])
        elif int(same[0]["metadata"]["annotations"][REVISION]) < max(numbers):
            same[0]["metadata"]["annotations"][REVISION] = str(max(numbers) + 1)
        metadata.setdefault("annotations", {})[REVISION] = same[0]["metadata"]["annotations"][REVISION]
        good = BROKEN not in template["spec"]["containers"][0]["image"]
        number = deployment["spec"].setdefault("replicas", 1)
        reason = "NewReplicaSetAvailable" if good else "ProgressDeadlineExceeded"
        deployment["status"] = {
            "observedGeneration": metadata["generation"],
            "replicas": number,
            "updatedReplicas": number if good else 0,
            "availableReplicas": number,
            "conditions": [{"type": "Progressing", "status": str(good), "reason": reason}],
        }


class Handler(BaseHTTPRequestHandler):
    """What kubectl asks over HTTP."""

    server: ApiServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path.rstrip("/")
        if path == "/api":
            self._say({"kind": "APIVersions", "versions": ["v1"]})
        elif path == "/apis":
            self._say({"kind": "APIGroupList", "apiVersion": "v1", "groups": self._list_groups()})
        elif path.startswith("/openapi/v3"):
            self._say(self._describe(path.removeprefix("/openapi/v3").strip("/")))
        elif path.split("/", 2)[-1] in self.server.kinds:
            self._say(self._list_resources(path.split("/", 2)[-1]))
        elif PATH.fullmatch(path):
            self._get(*self._locate())
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "NotFound", "no such path")

    def do_POST(self) -> None:
        version, plural, space, _ = self._locate()
        self._keep(version, plural, space, self._read())

    def do_PATCH(self) -> None:
        version, plural, space, name = self._locate()
        changed = copy.deepcopy(self.server.objects[version, plural, space, name])
        patch = self._read()
        if isinstance(patch, list):
            for change in patch:
                *parents, last = change["path"].strip("/").split("/")
                place = changed
                for parent in parents:
                    place = place[parent]
                place[last] = change["value"]
        else:
            _merge(changed, patch)
        self._keep(version, plural, space, changed)

    def do_DELETE(self) -> None:
        self._read()
        with self.server.lock:
            self._say(self.server.objects.pop(self._locate()))

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _get(self, version: str, plural: str, space: str, name: str) -> None:
        asked = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        if name:
            found = self.server.objects.get((version, plural, space, name))
            if found is None:
                self._refuse(HTTPStatus.NOT_FOUND, "NotFound", f'{plural} "{name}" not found')
            else:
                self._say(found)
        elif asked.get("watch"):
            self._say_nothing_more(float(asked.get("timeoutSeconds", 5)))
        else:
            found = [one for one in self.server.find(version, plural, space) if _matches(one, asked)]
            kind = next(kind for kind in self.server.kinds[version] if name_plural(kind) == plural)
            self._say(
                {"kind": f"{kind}List", "apiVersion": version, "metadata": {"resourceVersion": "1"}, "items": found}
            )

    def _keep(self, version: str, plural: str, space: str, made: Object) -> None:
        if "dryRun" in parse_qs(urlsplit(self.path).query):
            self._say(made)
        else:
            self._say(self.server.store(version, plural, space, made))

    def _locate(self) -> tuple[str, str, str, str]:
        found = PATH.fullmatch(urlsplit(self.path).path)
        assert found, self.path
        return found["version"], found["plural"], found["space"] or "", found["name"] or ""

    def _read(self) -> Any:
        return yaml.safe_load(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")

    def _list_groups(self) -> list[Object]:
        return [
            {
                "name": group,
                "versions": [{"groupVersion": version, "version": number}],
                "preferredVersion": {"groupVersion": version, "version": number},
            }
            for version in self.server.kinds
            for group, _, number in [version.partition("/")]
            if number
        ]

    def _list_resources(self, version: str) -> Object:
        verbs = ["create", "delete", "get", "list", "patch", "watch"]
        resources = [
            {
                "name": name_plural(kind),
                "singularName": kind.lower(),
                "kind": kind,
                "namespaced": kind != "Namespace",
                "verbs": verbs,
            }
            for kind in sorted(self.server.kinds[version])
        ]
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}

    def _describe(self, path: str) -> Object:
        """Return what tells kubectl that the server checks fields and tries without doing."""
        folders = {("api/v1" if version == "v1" else f"apis/{version}"): version for version in self.server.kinds}
        if not path:
            return {"paths": {folder: {"serverRelativeURL": f"/openapi/v3/{folder}"} for folder in folders}}
        group, _, number = folders[path].rpartition("/")
        parameters = [{"name": name, "in": "query"} for name in ("fieldValidation", "dryRun")]
        paths = {
            f"/{path}/{name_plural(kind)}/{{name}}": {
                "patch": {
                    "parameters": parameters,
                    "x-kubernetes-group-version-kind": {"group": group, "version": number, "kind": kind},
                }
            }
            for kind in self.server.kinds[folders[path]]
        }
        return {"openapi": "3.0.0", "info": {"title": "stand-in", "version": "1"}, "paths": paths}

    def _say(self, content: Object, status: HTTPStatus = HTTPStatus.OK) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _say_nothing_more(self, seconds: float) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("content-type", "application/json")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        threading.Event().wait(min(seconds, 2.0))
        self.wfile.write(b"0\r\n\r\n")

    def _refuse(self, status: HTTPStatus, reason: str, message: str) -> None:
        self._say(
            {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "reason": reason,
                "message": message,
                "code": status,
            },
            status,
        )


def _make_replica_set(deployment: Object, revision: int) -> Object:
    metadata = deployment["metadata"]
    template = copy.deepcopy(deployment["spec"]["template"])
    template["metadata"]["labels"]["pod-template-hash"] = f"hash{revision}"
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{metadata['name']}-hash{revision}",
            "labels": template["metadata"]["labels"],
            "annotations": {REVISION: str(revision)},
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                    "controller": True,
                }
            ],
        },
        "spec": {"replicas": 1, "template": template, "selector": deployment["spec"]["selector"]},
    }


def _matches(found: Object, asked: dict[str, str]) -> bool:
    labels = found["metadata"].get("labels", {})
    wanted = dict(pair.split("=", 1) for pair in asked.get("labelSelector", "").split(",") if pair)
    name = asked.get("fieldSelector", "").removeprefix("metadata.name=")
    return wanted.items() <= labels.items() and name in {"", found["metadata"]["name"]}


def _merge(place: Object, patch: Object) -> None:
    """Merge as Kubernetes does: lists of named things by name."""
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            place.pop(key, None)
        elif isinstance(value, dict) and isinstance(place.get(key), dict):
            _merge(place[key], value)
        elif isinstance(value, list) and value and isinstance(value[0], dict) and "name" in value[0] and key in place:
            for entry in value:
                same = [known for known in place[key] if known.get("name") == entry["name"]]
                if same:
                    _merge(same[0], entry)
                else:
                    place[key].append(entry)
        else:
            place[key] = value


@contextmanager
def run_api_server(kubeconfig: Path) -> Iterator[ApiServer]:
    """Yield a server that kubectl reaches by `kubeconfig`."""
    server = ApiServer(KINDS)
    with serve(server) as url:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "stand-in", "cluster": {"server": url}}],
            "contexts": [{"name": "stand-in", "context": {"cluster": "stand-in", "user": "tester"}}],
            "users": [{"name": "tester", "user": {}}],
            "current-context": "stand-in",
        }
        kubeconfig.write_text(yaml.safe_dump(config), encoding="utf-8")
        yield server
