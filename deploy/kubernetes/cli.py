"""`sentigate deploy kubernetes`: show, apply and undo what deploy/kubernetes describes, through kubectl."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from deploy.cli_errors import SentenceGroup
from sentiment.errors import DeployError, describe_unknown
from sentiment.paths import CHECKOUT

MANIFESTS = CHECKOUT / "deploy" / "kubernetes"
PRODUCTION = "production"
IMAGE = re.compile(r"(?P<name>[a-z0-9][^\s@]*?)(:(?P<tag>[\w][\w.-]{0,127}))?(@(?P<digest>sha256:[0-9a-f]{64}))?")
UNSET = "registry.invalid/"
EXAMPLE = "registry.example.org/sentigate@sha256:<64 hexadecimal digits>"
# kubectl ends with 1 whatever the matter is; these are its words, and klog's before them:
# https://github.com/kubernetes/kubectl/blob/v0.32.4/pkg/cmd/util/helpers.go
KLOG = re.compile(r"[EWI]\d{4} ")
UNREACHABLE = re.compile(
    r"was refused|connection refused|no such host|i/o timeout|Unable to connect|no configuration"
    r"|context .* does not exist|context was not found"
)
WORKLOADS = ("Deployment", "StatefulSet")
CANARY = "app.kubernetes.io/name=sentigate,track=canary"
ANSWER_SECONDS = 15
ROLLOUT_SECONDS = 900


@dataclass(frozen=True)
class Workload:
    """What runs pods: `deployment/sentigate`, its namespace, its images and the secrets that its pods mount."""

    name: str
    namespace: str
    images: tuple[str, ...]
    secrets: tuple[str, ...]


def render_overlay(overlay: str, image: str = "", canary: str = "") -> str:
    """Return the manifests of an overlay, with the images that are named.

    With `canary` there is a second Deployment of that image. Raises DeployError when the overlay is unknown, or an
    image is not named as it has to be there.
    """
    known = [path.parent.name for path in MANIFESTS.glob("overlays/*/kustomization.yaml")]
    if overlay not in known:
        raise DeployError(describe_unknown("overlay", overlay, known))
    images = [_read_image(name, value, overlay) for name, value in named_images(image, canary) if value]
    with tempfile.TemporaryDirectory() as scratch:
        copy = shutil.copytree(MANIFESTS, Path(scratch) / MANIFESTS.name)
        file = copy / "overlays" / overlay / "kustomization.yaml"
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        named = {entry["name"] for entry in images}
        content["images"] = [entry for entry in content.get("images", []) if entry["name"] not in named] + images
        if canary:
            # First, so that what other components do is done to it, too.
            content["components"] = ["../../components/canary", *content.get("components", [])]
        file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        return run_kubectl("kustomize", str(file.parent))


def named_images(image: str, canary: str) -> tuple[tuple[str, str], ...]:
    """Return what the manifests call the two images, and what they are."""
    return ("sentigate", image), ("sentigate-canary", canary)


def list_workloads(manifests: str) -> list[Workload]:
    """Return what runs pods in rendered manifests."""
    found = []
    for document in yaml.safe_load_all(manifests):
        if document["kind"] in WORKLOADS:
            pod = document["spec"]["template"]["spec"]
            found.append(
                Workload(
                    name=f"{document['kind'].lower()}/{document['metadata']['name']}",
                    namespace=document["metadata"]["namespace"],
                    images=tuple(container["image"] for container in pod["containers"]),
                    secrets=tuple(sorted(_list_secrets(pod))),
                )
            )
    return found


def apply_manifests(manifests: str) -> None:
    """Bring the cluster to what the manifests say, and return when all pods are ready.

    Nothing is changed unless the cluster would take all of it, and what does not become ready is taken back. Raises
    DeployError.
    """
    workloads = list_workloads(manifests)
    for workload in workloads:
        if any(image.startswith(UNSET) for image in workload.images):
            raise DeployError(f"no image is named for {workload.name}; name it: IMAGE={EXAMPLE}.")
    _require_secrets(workloads)
    run_kubectl("apply", "--dry-run=server", "-f", "-", given=manifests)
    before = {workload: _read_revision(workload) for workload in workloads}
    run_kubectl("apply", "-f", "-", given=manifests)
    for workload in workloads:
        try:
            _wait(workload)
        except DeployError as error:
            raise DeployError(f"{workload.name} did not become ready. {error} {_take_back(before)}") from error


def undo_rollout(workloads: Iterable[Workload]) -> None:
    """Bring back what ran before, and return when it is ready. Raises DeployError."""
    for workload in workloads:
        run_kubectl("rollout", "undo", workload.name, "-n", workload.namespace)
        _wait(workload)


def end_canary(namespace: str) -> None:
    """Remove a canary that runs in a namespace; its pods ship what they hold before they end."""
    kinds = ",".join(kind.lower() for kind in WORKLOADS)
    run_kubectl("delete", kinds, "-n", namespace, "-l", CANARY, "--ignore-not-found", "--wait=false")


def run_kubectl(*arguments: str, given: str | None = None) -> str:
    """Return what kubectl prints. Raises DeployError with what it complains of, in a sentence."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise DeployError("there is no kubectl on PATH; install it: https://kubernetes.io/docs/tasks/tools/.")
    done = subprocess.run([kubectl, *arguments], input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DeployError(describe_failure(arguments, done.stderr))
    return done.stdout


def describe_failure(arguments: tuple[str, ...], said: str) -> str:
    """Return a sentence on what kubectl complains of."""
    if unknown := re.search(r'no matches for kind "(\w+)"', said):
        return (
            f"the cluster knows no {unknown[1]}, which the Prometheus operator or another one brings; install that,"
            " or take the component that wants it out of the overlay's kustomization.yaml. Nothing was changed."
        )
    lines = [line for line in said.splitlines() if line.strip() and not KLOG.match(line)]
    reason = (lines or said.splitlines() or ["it says nothing"])[-1].removeprefix("error: ").strip().rstrip(".")
    if UNREACHABLE.search(said):
        return (
            f"no cluster answers kubectl ({reason}); name one with `kubectl config use-context NAME`"
            " and see that `kubectl version` reaches it."
        )
    return f"kubectl {arguments[0]} failed: {reason}."


def _read_image(name: str, image: str, overlay: str) -> dict[str, str]:
    found = IMAGE.fullmatch(image)
    if not found:
        raise DeployError(f"{image!r} names no image; wanted for example {EXAMPLE}.")
    if overlay == PRODUCTION and not found["digest"]:
        raise DeployError(
            f"{image!r} names no digest, and a tag may name another image tomorrow; {PRODUCTION} wants {EXAMPLE}."
        )
    if not found["digest"] and found["tag"] in {None, "latest"}:
        raise DeployError(f"{image!r} may be any image; name its version or its digest, for example {EXAMPLE}.")
    pinned = {"digest": found["digest"]} if found["digest"] else {"newTag": found["tag"]}
    return {"name": name, "newName": found["name"], **pinned}


def _list_secrets(pod: dict[str, Any]) -> Iterator[str]:
    for volume in pod.get("volumes", []):
        if "secret" in volume:
            yield volume["secret"]["secretName"]


def _require_secrets(workloads: list[Workload]) -> None:
    for workload in workloads:
        for secret in workload.secrets:
            wanted = ("get", "secret", secret, "-n", workload.namespace, "-o", "name")
            try:
                found = run_kubectl(*wanted, "--ignore-not-found", f"--request-timeout={ANSWER_SECONDS}s")
            except DeployError as error:
                if "(Forbidden)" not in str(error):  # who may deploy need not be allowed to look at secrets
                    raise
            else:
                if not found:
                    raise DeployError(
                        f"there is no secret {secret!r} in the namespace {workload.namespace!r};"
                        " docs/deploy/kubernetes.md says how to make it. Nothing was changed."
                    )


def _read_revision(workload: Workload) -> int:
    """Return the number of what runs now; 0 where nothing does."""
    where = (workload.name, "-n", workload.namespace)
    if not run_kubectl("get", *where, "-o", "name", "--ignore-not-found"):
        return 0
    numbers = re.findall(r"^(\d+)\s", run_kubectl("rollout", "history", *where), re.MULTILINE)
    return int(numbers[-1]) if numbers else 0


def _wait(workload: Workload) -> None:
    run_kubectl("rollout", "status", workload.name, "-n", workload.namespace, f"--timeout={ROLLOUT_SECONDS}s")


def _take_back(before: Mapping[Workload, int]) -> str:
    """Bring back what ran before, where the attempt changed it; return what became of it, in sentences."""
    said = []
    for workload, revision in before.items():
        where = (workload.name, "-n", workload.namespace)
        try:
            if not revision:
                said.append(f"{workload.name} ran nothing before; `kubectl describe {' '.join(where)}` says more.")
            elif _read_revision(workload) != revision:
                run_kubectl("rollout", "undo", *where, f"--to-revision={revision}")
                _wait(workload)
                said.append(f"{workload.name} runs what it ran before.")
        except DeployError as error:
            said.append(f"{workload.name} could not be taken back: {error}")
    return " ".join(said)


@click.group(cls=SentenceGroup)
def main() -> None:
    """Run the service on Kubernetes."""


@main.command()
@click.option("--overlay", required=True, help="A folder of deploy/kubernetes/overlays.")
@click.option("--image", default="", help="The image, by digest.")
@click.option("--canary", default="", help="The image of a canary, by digest.")
def show(overlay: str, image: str, canary: str) -> None:
    """Print the manifests."""
    click.echo(render_overlay(overlay, image, canary), nl=False)


@main.command()
@click.option("--overlay", required=True, help="A folder of deploy/kubernetes/overlays.")
@click.option("--image", default="", help="The image, by digest.")
@click.option("--canary", default="", help="The image of a canary, by digest; without one, a canary ends.")
def apply(overlay: str, image: str, canary: str) -> None:
    """Bring the cluster to what the manifests say, and wait until it is."""
    manifests = render_overlay(overlay, image, canary)
    apply_manifests(manifests)
    workloads = list_workloads(manifests)
    if not canary:
        end_canary(workloads[0].namespace)
    for workload in workloads:
        click.echo(f"{workload.name} in {workload.namespace} runs {', '.join(workload.images)}")


@main.command()
@click.option("--overlay", required=True, help="A folder of deploy/kubernetes/overlays.")
def undo(overlay: str) -> None:
    """Bring back what ran before the last change, and wait until it does."""
    workloads = list_workloads(render_overlay(overlay))
    undo_rollout(workloads)
    for workload in workloads:
        click.echo(f"{workload.name} in {workload.namespace} runs what it ran before")
