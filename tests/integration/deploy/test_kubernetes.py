import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import psycopg
import pytest

from deploy.images.engines import Engine
from deploy.kubernetes import cli as cluster
from deploy.kubernetes.cli import MANIFESTS, render_overlay
from tests.support.deploy.pods import SOCKETS, Pod, PodLoad, prepare_pods
from tests.support.postgres import PASSWORD, Postgres, run_postgres
from tests.support.serving import wait_until

pytestmark = [
    pytest.mark.container,
    pytest.mark.postgres,
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("kubectl"), reason="no kubectl on PATH; it renders the manifests"),
]

GONE_AFTER_SECONDS = 15  # until nobody sends requests to a pod that ends


@pytest.fixture(scope="module")
def podman(engine: Engine) -> Engine:
    if engine.name != "podman":
        pytest.skip(f"containers run by {engine.name} here, and only podman plays manifests of Kubernetes")
    return engine


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with run_postgres() as server:
        server.folder.chmod(0o711)  # the socket in it is for the pods, too
        yield server


@pytest.fixture
def database(postgres) -> Iterator[str]:
    """The URL of an empty database as this machine reaches it; the server runs again after the test."""
    yield postgres.create_database()
    postgres.start()


@pytest.fixture
def make_pods(podman, image, postgres, database, tmp_path):
    """A function that starts the pods of an overlay, of both tracks if that is wanted, and returns them once ready."""
    with ExitStack() as stack:

        def make(manifests: str) -> list[Pod]:
            account, name = database.partition("@127.0.0.1")[0], database.rpartition("/")[2]
            url = f"{account}@/{name}?host={SOCKETS}&port={postgres.port}"
            pods = stack.enter_context(prepare_pods(podman, manifests, image, url, postgres.folder))
            for pod in pods:
                pod.play(tmp_path)
            for pod in pods:
                pod.wait_until_ready()
            return pods

        yield make


def find_rows(database: str) -> set[str]:
    with psycopg.connect(database) as connection:
        found = connection.execute("select to_regclass('predictions')").fetchone()
        return {str(row[0]) for row in connection.execute("select id from predictions")} if found[0] else set()


def test_a_pod_answers_and_its_rows_are_in_postgresql(make_pods, database):
    """As the manifests have it: keys and database from secrets, no rights, nothing to write to but two folders."""
    (pod,) = make_pods(render_overlay("staging"))
    assert httpx.post(f"{pod.url}/predict", json={"text": "who am I"}, trust_env=False).status_code == 401
    answer = pod.predict("what a day").raise_for_status().json()
    wait_until(lambda: answer["prediction_id"] in find_rows(database))
    seen = pod.inspect()
    assert seen["HostConfig"]["ReadonlyRootfs"] is True
    assert seen["HostConfig"]["Memory"] == 768 * 2**20
    assert not seen["EffectiveCaps"]
    assert "no-new-privileges" in seen["HostConfig"]["SecurityOpt"]
    assert pod.execute("id", "-u").strip() == "1034"
    assert PASSWORD not in str(seen)


def test_two_pods_that_start_at_once_share_an_empty_database(make_pods, database):
    """A stable pod and a canary find no tables: one makes them, and both fill them."""
    pods = make_pods(render_overlay("staging", canary="sentigate:5"))
    answers = {pod.predict("hello").raise_for_status().json()["prediction_id"] for pod in pods}
    assert len(answers) == len(pods) == 2
    wait_until(lambda: answers <= find_rows(database))


@pytest.mark.parametrize("overlay", ["staging", "production"])
def test_a_deleted_pod_loses_no_acknowledged_prediction(make_pods, database, overlay):
    """Its preStop hook ends when all is in the database; whoever still asks then is answered and logged, too."""
    (pod,) = make_pods(render_overlay(overlay))
    with PodLoad(pod) as load:
        hook = threading.Thread(target=pod.prepare_to_stop)
        hook.start()
        time.sleep(GONE_AFTER_SECONDS / 2)
    hook.join()
    pod.remove()
    assert not load.failures
    assert len(load.acknowledged) > 100
    assert set(load.acknowledged) <= find_rows(database)


def test_a_pod_that_is_deleted_during_an_outage_waits_for_the_database(make_pods, postgres, database):
    """What it acknowledged lies in a folder that dies with it: it does not end before that is in the database."""
    (pod,) = make_pods(render_overlay("staging"))
    wait_until(lambda: find_rows(database) is not None)
    postgres.stop()
    acknowledged = {pod.predict(f"text {number}").raise_for_status().json()["prediction_id"] for number in range(20)}
    hook = threading.Thread(target=pod.prepare_to_stop)
    hook.start()
    hook.join(timeout=GONE_AFTER_SECONDS + 5)
    assert hook.is_alive()
    postgres.start()
    hook.join(timeout=30)
    assert not hook.is_alive()
    pod.remove()
    assert acknowledged <= find_rows(database)


def test_on_a_disk_even_a_lost_node_loses_no_acknowledged_prediction(
    make_pods, postgres, database, tmp_path, monkeypatch
):
    """With spool-on-disk, the pod that comes after one that was killed during an outage ships what that one left."""
    folder = shutil.copytree(MANIFESTS, tmp_path / "kubernetes")
    file = folder / "overlays" / "staging" / "kustomization.yaml"
    file.write_text(file.read_text().replace("components:\n", "components:\n  - ../../components/spool-on-disk\n"))
    monkeypatch.setattr(cluster, "MANIFESTS", folder)
    (pod,) = make_pods(render_overlay("staging"))
    postgres.stop()
    acknowledged = {pod.predict(f"text {number}").raise_for_status().json()["prediction_id"] for number in range(20)}
    pod.discard()
    postgres.start()
    pod.play(tmp_path)
    wait_until(lambda: acknowledged <= find_rows(database), lambda: pod.log[-2000:])
