"""Pods of the rendered manifests, run by podman, which has to be told what a kubelet knows by itself."""

import base64
import copy
import secrets
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from deploy.images.engines import Engine
from release.smoke_test import find_free_port
from service.security.keys import make_key, write_key
from tests.support.serving import wait_until

SOCKETS = "/run/postgresql"
Document = dict[str, Any]


@dataclass
class Pod:
    """A pod of one Deployment, with a key to ask it; `claims` are volumes that outlive it."""

    engine: Engine
    manifests: list[Document]
    key: str
    port: int
    claims: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def name(self) -> str:
        return f"{self._deployment['metadata']['name']}-pod-0"

    @property
    def container(self) -> str:
        return f"{self.name}-{self._spec['containers'][0]['name']}"

    @property
    def log(self) -> str:
        return self.engine.run("logs", self.container)

    def inspect(self) -> Document:
        return yaml.safe_load(self.engine.run("container", "inspect", self.container))[0]

    def execute(self, *command: str) -> str:
        return self.engine.run("exec", self.container, *command)

    def play(self, folder: Path) -> None:
        """Start it, as `kubectl apply` would."""
        file = folder / f"{self.name}.yaml"
        file.write_text(yaml.safe_dump_all(self.manifests), encoding="utf-8")
        file.chmod(0o600)
        self.engine.run("kube", "play", "--start=false", str(file))
        for name, content in self._secrets.items():
            volume = Path(self.engine.run("volume", "inspect", "--format", "{{.Mountpoint}}", name).strip())
            for item, value in content.items():
                (volume / item).write_bytes(base64.b64decode(value))  # older podman leaves them encoded
        self.engine.run("pod", "start", self.name)

    def wait_until_ready(self) -> None:
        wait_until(self._is_ready, lambda: self.log[-3000:], seconds=60)

    def predict(self, text: str, **options: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.key}"}
        return httpx.post(
            f"{self.url}/predict", json={"text": text}, headers=headers, timeout=30, trust_env=False, **options
        )

    def prepare_to_stop(self) -> float:
        """Run the preStop hook, as a kubelet does before it sends SIGTERM; return the seconds that took."""
        begun = time.monotonic()
        self.execute(*self._spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"])
        return time.monotonic() - begun

    def remove(self, seconds: int = 30) -> None:
        """Send SIGTERM, wait so long, and remove the pod with what dies with it."""
        self.engine.run("pod", "stop", "--time", str(seconds), self.name)
        self.discard()

    def discard(self, *, with_claims: bool = False) -> None:
        """Remove the pod at once, as the loss of its node does; nothing happens where it is not there."""
        self.engine.run("pod", "rm", "--force", "--ignore", "--time", "0", self.name)
        volumes = {_name_volume(volume) for volume in self._spec["volumes"]} - {""}
        self.engine.run("volume", "rm", "--force", *(volumes if with_claims else volumes - set(self.claims)))
        stored = self.engine.run("secret", "ls", "--format", "{{.Name}}").split()
        for name in self._secrets.keys() & stored:
            self.engine.run("secret", "rm", name)

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    @property
    def _deployment(self) -> Document:
        return next(document for document in self.manifests if document["kind"] == "Deployment")

    @property
    def _secrets(self) -> dict[str, dict[str, str]]:
        return {made["metadata"]["name"]: made["data"] for made in self.manifests if made["kind"] == "Secret"}

    @property
    def _spec(self) -> Document:
        return self._deployment["spec"]["template"]["spec"]


def _name_volume(volume: Document) -> str:
    """Return what podman calls a volume; empty for a folder of this machine."""
    if "persistentVolumeClaim" in volume:
        return str(volume["persistentVolumeClaim"]["claimName"])
    if "secret" in volume:
        return str(volume["secret"]["secretName"])
    return "" if "hostPath" in volume else str(volume["name"])


@contextmanager
def prepare_pods(engine: Engine, manifests: str, image: str, database: str, sockets: Path) -> Iterator[list[Pod]]:
    """Yield a pod for each Deployment or StatefulSet of rendered manifests, which tests start; all end with the block.

    Podman's names are the whole machine's, it takes no StatefulSet, and wants to be told that a secret is not optional.
    The database is on this machine, behind a socket in the folder `sockets`.
    """
    prefix = f"kube-test-{uuid.uuid4().hex[:8]}"
    documents = list(yaml.safe_load_all(manifests))
    key, kept = make_key("test", ["predict", "admin"])
    values = {"sentigate-database": {"DATABASE_URL": database}, "sentigate-keys": {"keys.txt": write_key(kept)}}
    pods = [
        _adapt(engine, documents, document, prefix, image, key, values, sockets)
        for document in documents
        if document["kind"] in {"Deployment", "StatefulSet"}
    ]
    try:
        yield pods
    finally:
        for pod in pods:
            pod.discard(with_claims=True)


def _adapt(
    engine: Engine,
    documents: list[Document],
    workload: Document,
    prefix: str,
    image: str,
    key: str,
    values: Mapping[str, Mapping[str, str]],
    sockets: Path,
) -> Pod:
    deployment = copy.deepcopy(workload)
    name = f"{prefix}-{deployment['metadata']['name']}"
    deployment["metadata"]["name"] = name
    deployment["kind"] = "Deployment"
    claims = [claim["metadata"]["name"] for claim in deployment["spec"].pop("volumeClaimTemplates", [])]
    spec = deployment["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    port = find_free_port()
    container.update(image=image, imagePullPolicy="Never")
    container["ports"][0].update(hostPort=port, hostIP="127.0.0.1")
    for volume in spec["volumes"]:
        if "secret" in volume:
            volume["secret"] = {"secretName": f"{name}-{volume['secret']['secretName']}", "optional": False}
    spec["volumes"] += [
        {"name": claim, "persistentVolumeClaim": {"claimName": f"{name}-{claim}"}} for claim in claims
    ] + [{"name": "sockets", "hostPath": {"path": str(sockets), "type": "Directory"}}]
    container["volumeMounts"].append({"name": "sockets", "mountPath": SOCKETS, "readOnly": True})
    for entry in (*spec["volumes"], *container["volumeMounts"]):
        entry["name"] = f"{name}-{entry['name']}"
    made = [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": f"{name}-{secret}"},
            "data": {item: base64.b64encode(value.encode()).decode() for item, value in content.items()},
        }
        for secret, content in values.items()
    ]
    settings = [document for document in documents if document["kind"] == "ConfigMap"]
    return Pod(engine, [*settings, *made, deployment], key, port, [f"{name}-{claim}" for claim in claims])


class PodLoad:
    """Clients that ask one pod until the block ends, and which predictions it acknowledged."""

    def __init__(self, pod: Pod, clients: int = 4) -> None:
        self._pod = pod
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        self.acknowledged: list[str] = []
        self.failures: list[str] = []

    def __enter__(self) -> "PodLoad":
        for thread in self._threads:
            thread.start()
        wait_until(lambda: len(self.acknowledged) >= 20, lambda: str(self.failures[:3]))
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        headers = {"authorization": f"Bearer {self._pod.key}"}
        with httpx.Client(base_url=self._pod.url, headers=headers, timeout=30, trust_env=False) as client:
            while not self._stop.wait(0.005):
                try:
                    answer = client.post("/predict", json={"text": f"a pod {secrets.token_hex(4)}"}).raise_for_status()
                    self.acknowledged.append(answer.json()["prediction_id"])
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
