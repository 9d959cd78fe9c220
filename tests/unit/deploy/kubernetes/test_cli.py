"""What the rendered manifests of deploy/kubernetes promise, in every overlay and with every component."""

import re
import shutil
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

from deploy.kubernetes import cli as cluster
from deploy.kubernetes.cli import MANIFESTS, list_workloads, main, render_overlay
from sentiment.errors import DeployError
from service.settings import ServiceSettings

pytestmark = pytest.mark.skipif(not shutil.which("kubectl"), reason="no kubectl on PATH; it renders the manifests")

IMAGE = f"registry.example.org:5000/sentigate@sha256:{'a1' * 32}"
CANARY = f"registry.example.org:5000/sentigate@sha256:{'b2' * 32}"
VERSIONS = ("1.33", "1.37")
FOREIGN = {"ServiceMonitor", "PrometheusRule"}  # kinds of the Prometheus operator, of which Kubernetes has no schema
SIZES = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
WORKER_BYTES, PARENT_BYTES = 227e6, 110e6  # docs/benchmarks.md: 563.6 MB after 200,000 requests with two workers

Documents = list[dict[str, Any]]


@pytest.fixture(
    scope="module",
    params=[
        "staging",
        "production",
        "staging with a canary",
        "production with a canary",
        "staging on disks, canary",
        "production on disks",
        "production, canary, migrates",
        "staging on disks, migrates",
    ],
)
def rendered(request, tmp_path_factory) -> str:
    """Each overlay as it may be deployed, with components named as the how-to says."""
    overlay = request.param.split()[0].rstrip(",")
    folder = shutil.copytree(MANIFESTS, tmp_path_factory.mktemp("deploy") / "kubernetes")
    if "disks" in request.param:
        add_component(folder, overlay, "spool-on-disk")
    if "migrates" in request.param:
        add_component(folder, overlay, "migration")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "MANIFESTS", folder)
        return render_overlay(overlay, IMAGE, CANARY if "canary" in request.param else "")


@pytest.fixture
def documents(rendered) -> Documents:
    return list(yaml.safe_load_all(rendered))


@pytest.fixture
def workloads(documents) -> Documents:
    return [document for document in documents if document["kind"] in {"Deployment", "StatefulSet"}]


@pytest.fixture
def pods(workloads) -> Documents:
    return [workload["spec"]["template"]["spec"] for workload in workloads]


@pytest.fixture
def settings(documents) -> dict[str, str]:
    return find(documents, "ConfigMap")["data"]


def add_component(folder: Path, overlay: str, component: str) -> None:
    """Write a component into an overlay, as the how-to says."""
    file = folder / "overlays" / overlay / "kustomization.yaml"
    file.write_text(file.read_text().replace("components:\n", f"components:\n  - ../../components/{component}\n"))


def find(documents: Documents, kind: str) -> dict[str, Any]:
    """Return the one document of a kind."""
    (found,) = [
        document
        for document in documents
        if document["kind"] == kind and document["metadata"]["name"] != "sentigate-pods"
    ]
    return found


def read_bytes(quantity: str) -> float:
    return int(quantity[:-2]) * SIZES[quantity[-2:]]


def read_cores(quantity: str) -> float:
    return int(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field(documents, version):
    for document in documents:
        if document["kind"] not in FOREIGN:
            kubernetes_validate.validate(document, version, strict=True)


def test_an_unknown_field_would_be_found(documents):
    deployment = next(document for document in documents if document["kind"] in {"Deployment", "StatefulSet"})
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


def test_images_are_named_by_digest(pods):
    images = [container["image"] for pod in pods for container in pod["containers"]]
    assert images == [IMAGE, CANARY][: len(images)]


def test_an_overlay_names_no_image_of_its_own():
    """What nobody named is pulled from nowhere: `.invalid` is no domain, and never will be."""
    for workload in list_workloads(render_overlay("production", canary=CANARY)):
        assert workload.name.endswith("canary") or workload.images == ("registry.invalid/sentigate:unset",)


def test_containers_have_no_rights(pods):
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 1034
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
        assert {kind for volume in pod["volumes"] for kind in volume} <= {"name", "emptyDir", "secret"}


def test_only_the_migration_has_the_address_of_the_owner(pods):
    """The container that strangers talk to does not see it; a canary changes no schema."""
    owners = 0
    for pod in pods:
        service = pod["containers"][0]
        assert "owner" not in {mount["name"] for mount in service["volumeMounts"]}
        for migration in pod.get("initContainers", []):
            assert migration["image"] == service["image"] == IMAGE
            assert [mount["name"] for mount in migration["volumeMounts"]] == ["owner"]
            owners += 1
    assert owners == sum("owner" in {volume["name"] for volume in pod["volumes"]} for pod in pods) <= 1


def test_the_namespace_refuses_pods_with_more_rights(documents):
    assert find(documents, "Namespace")["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}


def test_the_service_may_write_to_its_state_and_tmp_alone(pods, workloads, settings):
    for workload, pod in zip(workloads, pods, strict=True):
        claims = [claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])]
        writable = {volume["name"] for volume in pod["volumes"] if "emptyDir" in volume} | set(claims)
        mounts = {mount["mountPath"]: mount for mount in pod["containers"][0]["volumeMounts"]}
        assert {path for path, mount in mounts.items() if mount["name"] in writable} == {"/var/lib/sentigate", "/tmp"}
        assert all(mount["readOnly"] for mount in mounts.values() if mount["name"] not in writable)
    assert settings["SENTIMENT_STATE_DIR"] == "/var/lib/sentigate"


def test_memory_fits_the_workers(pods, settings):
    measured = PARENT_BYTES + int(settings["SENTIMENT_WORKERS"]) * WORKER_BYTES
    for pod in pods:
        resources = pod["containers"][0]["resources"]
        assert read_bytes(resources["requests"]["memory"]) >= measured
        assert read_bytes(resources["limits"]["memory"]) >= 1.5 * measured


def test_there_is_a_core_for_each_worker(pods, settings):
    for pod in pods:
        assert read_cores(pod["containers"][0]["resources"]["limits"]["cpu"]) == int(settings["SENTIMENT_WORKERS"])


def test_a_full_spool_refuses_requests_before_its_disk_is_full(workloads, settings):
    """A pod whose emptyDir is over its size is evicted, with all that waits in it."""
    for workload in workloads:
        pod = workload["spec"]["template"]["spec"]
        claims = workload["spec"].get("volumeClaimTemplates")
        (room,) = [volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if volume["name"] == "state"] or [
            claims[0]["spec"]["resources"]["requests"]["storage"]
        ]
        limits = pod["containers"][0]["resources"]["limits"]
        assert (
            1.5 * int(settings["SENTIMENT_SPOOL_MAX_BYTES"])
            < read_bytes(room)
            <= read_bytes(limits["ephemeral-storage"])
        )


def test_settings_are_settings_of_the_service(settings, monkeypatch):
    known = {f"SENTIMENT_{name.upper()}" for name in ServiceSettings.model_fields}
    assert set(settings) <= known | {"SENTIMENT_STATE_DIR", "DATABASE_URL_FILE"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    ServiceSettings()


def test_secrets_are_files_by_reference(documents, pods, settings):
    assert "Secret" not in {document["kind"] for document in documents}
    for pod in pods:
        (container,) = pod["containers"]
        assert "env" not in container
        assert [list(source) for source in container["envFrom"]] == [["configMapRef"]]
        mounted = {volume["secret"]["secretName"]: volume["name"] for volume in pod["volumes"] if "secret" in volume}
        places = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert settings["DATABASE_URL_FILE"] == f"{places[mounted['sentigate-database']]}/DATABASE_URL"
        assert settings["SENTIMENT_API_KEY_FILE"] == f"{places[mounted['sentigate-keys']]}/keys.txt"


def test_other_settings_are_another_rollout(workloads, documents):
    """The name of the settings holds their digest, so that undoing a rollout brings back its settings."""
    name = find(documents, "ConfigMap")["metadata"]["name"]
    assert re.fullmatch(r"sentigate-settings-[a-z0-9]{10}", name)
    for workload in workloads:
        (source,) = workload["spec"]["template"]["spec"]["containers"][0]["envFrom"]
        assert source["configMapRef"]["name"] == name


def test_probes_ask_the_port_that_the_service_has(pods):
    for pod in pods:
        (container,) = pod["containers"]
        assert container["ports"] == [{"name": "http", "containerPort": 3000}]
        asked = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
        assert {probe["port"] for probe in asked.values()} == {"http"}
        assert {name: probe["path"] for name, probe in asked.items()} == {
            "startup": "/readyz",
            "readiness": "/readyz",
            "liveness": "/livez",
        }


def test_a_pod_that_starts_slowly_is_not_killed(pods):
    """Ready 4 s after its start on two cores; a start that takes ten times as long is not the end."""
    for pod in pods:
        probe = pod["containers"][0]["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] >= 40


def test_the_end_of_a_pod_has_time_to_ship_the_spool(workloads):
    """Where the spool is on a disk, what is left of it is shipped by the next pod."""
    for workload in workloads:
        pod = workload["spec"]["template"]["spec"]
        script = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1]
        waits, ships = (sum(map(int, re.findall(pattern, script))) for pattern in (r"^sleep (\d+)", r"seq (\d+)"))
        assert waits >= 10
        assert ships >= 300 or workload["kind"] == "StatefulSet"
        assert pod["terminationGracePeriodSeconds"] >= waits + ships + ServiceSettings().timeout_seconds + 10


def test_an_update_takes_no_pod_away(workloads):
    for workload in workloads:
        spec = workload["spec"]
        if workload["kind"] == "Deployment":
            assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        else:
            assert spec["updateStrategy"] == {"type": "RollingUpdate"}  # one pod after the other


def test_each_track_has_pods_of_its_own(workloads):
    selectors = []
    for workload in workloads:
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert workload["spec"]["selector"]["matchLabels"] == labels
        selectors.append(labels)
    assert [labels["track"] for labels in selectors] == ["stable", "canary"][: len(selectors)]


@pytest.mark.parametrize("kind", ["Service", "PodDisruptionBudget", "NetworkPolicy"])
def test_what_selects_pods_finds_every_track(documents, workloads, kind):
    spec = find(documents, kind)["spec"]
    selector = spec.get("selector") or spec["podSelector"]
    wanted = selector.get("matchLabels", selector)
    for workload in workloads:
        assert wanted.items() <= workload["spec"]["template"]["metadata"]["labels"].items()


def test_the_autoscaler_scales_what_is_there(documents, workloads):
    spec = find(documents, "HorizontalPodAutoscaler")["spec"]
    stable = next(workload for workload in workloads if workload["metadata"]["name"] == spec["scaleTargetRef"]["name"])
    assert spec["scaleTargetRef"]["kind"] == stable["kind"]
    assert "replicas" not in stable["spec"]
    assert "cpu" in stable["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
    assert 1 <= spec["minReplicas"] < spec["maxReplicas"]


def test_production_has_a_pod_to_spare():
    documents = list(yaml.safe_load_all(render_overlay("production", IMAGE)))
    budget = find(documents, "PodDisruptionBudget")["spec"]["maxUnavailable"]
    assert find(documents, "HorizontalPodAutoscaler")["spec"]["minReplicas"] - budget >= 2


def test_the_network_lets_through_what_the_service_needs(documents):
    spec = find(documents, "NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert [port for rule in spec["ingress"] for port in rule["ports"]] == [{"protocol": "TCP", "port": "http"}]
    outward = {(port["protocol"], port["port"]) for rule in spec["egress"] for port in rule["ports"]}
    assert outward == {("UDP", 53), ("TCP", 53), ("TCP", 5432)}
    assert all(rule.get("from") or rule.get("to") for rule in spec["ingress"] + spec["egress"])


def test_everything_is_in_one_namespace(documents):
    name = find(documents, "Namespace")["metadata"]["name"]
    assert {document["metadata"].get("namespace", name) for document in documents} == {name}


def test_staging_and_production_do_not_meet():
    namespaces = [list_workloads(render_overlay(overlay, IMAGE))[0].namespace for overlay in ("staging", "production")]
    assert namespaces == ["sentigate-staging", "sentigate"]


def test_prometheus_reads_the_port_of_the_service_with_a_key():
    documents = list(yaml.safe_load_all(render_overlay("production", IMAGE)))
    monitor, service = find(documents, "ServiceMonitor")["spec"], find(documents, "Service")
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["authorization"] == {
        "type": "Bearer",
        "credentials": {"name": "sentigate-monitoring", "key": "key"},
    }


def test_prometheus_tells_the_pods_of_the_canary():
    """The label of its pods that the alerts ask for."""
    documents = list(yaml.safe_load_all(render_overlay("production", IMAGE, CANARY)))
    tracks = [d["spec"]["template"]["metadata"]["labels"]["track"] for d in documents if d["kind"] == "Deployment"]
    assert find(documents, "ServiceMonitor")["spec"]["podTargetLabels"] == ["track"]
    assert 'track="canary"' in yaml.safe_dump(find(documents, "PrometheusRule"))
    assert "canary" in tracks


@pytest.mark.parametrize("overlay", ["staging", "production"])
def test_prometheus_misses_the_service_of_this_namespace(overlay, tmp_path, monkeypatch):
    """With the component in either overlay, and by the job that a ServiceMonitor makes of a Service: its name."""
    folder = shutil.copytree(MANIFESTS, tmp_path / "kubernetes")
    if overlay == "staging":
        add_component(folder, overlay, "monitoring")
    monkeypatch.setattr(cluster, "MANIFESTS", folder)
    documents = list(yaml.safe_load_all(render_overlay(overlay, IMAGE)))
    service = find(documents, "Service")["metadata"]
    (group,) = find(documents, "PrometheusRule")["spec"]["groups"]
    down = next(rule for rule in group["rules"] if rule.get("alert") == "SentigateDown")
    missed = f'absent(up{{job="{service["name"]}", namespace="{service["namespace"]}"}})'
    assert down["expr"].strip().endswith(missed)


def test_production_is_reached_by_tls_alone():
    documents = list(yaml.safe_load_all(render_overlay("production", IMAGE)))
    spec, service = find(documents, "Ingress")["spec"], find(documents, "Service")
    assert [host for entry in spec["tls"] for host in entry["hosts"]] == [rule["host"] for rule in spec["rules"]]
    backend = spec["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": service["metadata"]["name"], "port": {"name": service["spec"]["ports"][0]["name"]}}


def test_an_overlay_renders_the_same_without_us():
    """`kubectl apply -k` on the folder is another way to the same manifests."""
    folder = MANIFESTS / "overlays" / "production"
    assert cluster.run_kubectl("kustomize", str(folder)) == render_overlay("production")


def test_a_canary_changes_nothing_of_what_is_stable():
    stable = list(yaml.safe_load_all(render_overlay("production", IMAGE)))
    both = list(yaml.safe_load_all(render_overlay("production", IMAGE, CANARY)))
    added = [document for document in both if document not in stable]
    assert [document for document in both if document in stable] == stable
    assert [document["metadata"]["name"] for document in added] == ["sentigate-canary"]


def test_a_canary_differs_in_name_track_image_and_number():
    workloads = [
        d for d in yaml.safe_load_all(render_overlay("production", IMAGE, CANARY)) if d["kind"] == "Deployment"
    ]
    stable, canary = (yaml.safe_dump(workload) for workload in workloads)
    restored = canary.replace("track: canary", "track: stable").replace("sentigate-canary", "sentigate")
    assert restored.replace(CANARY, IMAGE).replace("  replicas: 1\n", "") == stable


@pytest.mark.parametrize(
    ("overlay", "image"),
    [
        ("prodution", IMAGE),
        ("../base", IMAGE),
        ("production", "registry.example.org/sentigate:5-81d4da08a3a1"),
        ("staging", "sentigate:latest"),
        ("staging", "localhost:5000/sentigate"),
        ("staging", "a b"),
        ("staging", "x@sha256:12"),
    ],
)
def test_a_wrong_name_is_told_in_a_sentence(overlay, image, refuses):
    with refuses(DeployError):
        render_overlay(overlay, image)


def test_staging_takes_a_version():
    assert list_workloads(render_overlay("staging", "localhost:5000/sentigate:5-81d4da08a3a1"))[0].images == (
        "localhost:5000/sentigate:5-81d4da08a3a1",
    )


def test_a_canary_of_production_is_named_by_digest(refuses):
    with refuses(DeployError):
        render_overlay("production", IMAGE, "registry.example.org/sentigate:6")


def test_rendering_leaves_the_folder_as_it_is():
    before = {path: path.read_bytes() for path in MANIFESTS.rglob("*") if path.is_file()}
    render_overlay("production", IMAGE, CANARY)
    assert {path: path.read_bytes() for path in MANIFESTS.rglob("*") if path.is_file()} == before


def test_show_prints_manifests_that_kubectl_reads(tmp_path: Path):
    done = CliRunner().invoke(main, ["show", "--overlay", "staging", "--image", IMAGE])
    assert done.exit_code == 0
    assert done.stdout == render_overlay("staging", IMAGE)


def test_without_an_image_nothing_is_applied(sentence):
    done = CliRunner().invoke(main, ["apply", "--overlay", "production"])
    assert done.exit_code == 1
    assert done.stderr == sentence


def test_a_machine_without_kubectl_is_told(monkeypatch, sentence):
    monkeypatch.setenv("PATH", "")
    done = CliRunner().invoke(main, ["show", "--overlay", "staging"])
    assert done.stderr == sentence


@pytest.mark.parametrize("verb", [["apply", "--image", IMAGE], ["undo"]])
def test_without_a_cluster_one_sentence_says_so(monkeypatch, tmp_path, verb):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    done = CliRunner().invoke(main, [*verb, "--overlay", "staging"])
    assert done.exit_code == 1
    assert re.fullmatch(
        r"Error: no cluster answers kubectl \([^\n]+\); name one with `kubectl config use-context NAME` and see that"
        r" `kubectl version` reaches it\.\n",
        done.stderr,
    )


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            'resource mapping not found for name: "sentigate" namespace: "sentigate" from "STDIN": no matches for kind'
            ' "ServiceMonitor" in version "monitoring.coreos.com/v1"\nensure CRDs are installed first',
            "the cluster knows no ServiceMonitor, which the Prometheus operator or another one brings; install that, or"
            " take the component that wants it out of the overlay's kustomization.yaml. Nothing was changed.",
        ),
        (
            'E1121 23:09:30.552875    2972 memcache.go:265] "Unhandled"\nUnable to connect to the server: dial tcp:'
            " lookup k8s.example.org: no such host",
            "no cluster answers kubectl (Unable to connect to the server: dial tcp: lookup k8s.example.org: no such"
            " host); name one with `kubectl config use-context NAME` and see that `kubectl version` reaches it.",
        ),
        (
            'error: context "stagin" does not exist',
            'no cluster answers kubectl (context "stagin" does not exist); name one with `kubectl config use-context'
            " NAME` and see that `kubectl version` reaches it.",
        ),
        (
            "Error in configuration: context was not found for specified context: stagin",
            "no cluster answers kubectl (Error in configuration: context was not found for specified context: stagin);"
            " name one with `kubectl config use-context NAME` and see that `kubectl version` reaches it.",
        ),
        (
            'Error from server (Forbidden): secrets "sentigate-keys" is forbidden: User "ci" cannot get it',
            'kubectl get failed: Error from server (Forbidden): secrets "sentigate-keys" is forbidden: User "ci"'
            " cannot get it.",
        ),
        ("", "kubectl get failed: it says nothing."),
    ],
)
def test_what_kubectl_says_becomes_a_sentence(said, sentence):
    assert cluster.describe_failure(("get",), said) == sentence
