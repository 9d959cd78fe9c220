"""The Terraform of deploy/aws: made and taken away for real, against a stand-in of AWS on this machine."""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sentiment.paths import CHECKOUT
from service.security.keys import make_key, write_key
from tests.support.deploy.clouds import ACCOUNT, REGION, Cloud, start_cloud

pytestmark = [pytest.mark.slow, pytest.mark.extended]

FOLDER = CHECKOUT / "deploy" / "aws"
PROVIDERS = Path(os.environ.get("TF_PLUGIN_DIR", "/opt/tf-plugins"))
KEY = make_key("tests", ["predict"])[1]
CERTIFICATE = f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/11111111-2222-3333-4444-555555555555"
HOSTNAME = "sentiment.example.com"
TAKE_NO_RESOURCE = {
    "ecr:GetAuthorizationToken",
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
}


@dataclass(frozen=True)
class Checkout:
    """A copy of deploy/aws with a state of its own, and the stand-in it talks to."""

    folder: Path
    cloud: Cloud

    def terraform(self, *arguments: str, root: str = ".") -> "subprocess.CompletedProcess[str]":
        command = ["terraform", f"-chdir={self.folder / root}", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)

    def begin(self, *options: str, **changed: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "sentigate", "deploy", "aws", "--yes", "--folder", str(self.folder), *options]
        said = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=CHECKOUT, env={**self.environment, **changed}, text=True, **said)

    def deploy(self, *options: str, **changed: str) -> "subprocess.CompletedProcess[str]":
        begun = self.begin(*options, **changed)
        stdout, stderr = begun.communicate()
        return subprocess.CompletedProcess(begun.args, begun.returncode, stdout, stderr)

    def plan(self, **variables: object) -> Any:
        """Return what would be made, as Terraform says it in JSON; the state is left alone."""
        chosen = {"environment": "plan", "image": IMAGES[0], **variables}
        options = [
            f"-var={name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in chosen.items()
        ]
        done = self.terraform(
            "plan",
            "-no-color",
            "-input=false",
            "-out=plan.tfplan",
            f"-var-file={self.folder}/production.tfvars",
            *options,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(self.terraform("show", "-json", "plan.tfplan").stdout)

    def refuse(self, **variables: object) -> str:
        """Return what Terraform says of variables that it does not take, on one line."""
        options = [
            f"-var={name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in variables.items()
        ]
        done = self.terraform(
            "plan", "-no-color", "-input=false", f"-var-file={self.folder}/production.tfvars", *options
        )
        assert done.returncode == 1
        return " ".join(done.stderr.replace("│", " ").split())

    @property
    def environment(self) -> dict[str, str]:
        return {**self.cloud.environment, "TF_CLI_ARGS_init": f"-plugin-dir={PROVIDERS} -lockfile=readonly"}


LIFE = "test_a_deployment_comes_changes_its_image_goes_back_and_leaves_nothing"
IMAGES = [f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/sentigate@sha256:{digit * 64}" for digit in "ab"]


@contextmanager
def open_checkout(folder: Path) -> Iterator[Checkout]:
    """Yield a copy of deploy/aws that Terraform can work in, or skip with what is missing."""
    if shutil.which("terraform") is None:
        pytest.skip("there is no terraform on PATH")
    if not PROVIDERS.is_dir():
        pytest.skip(f"{PROVIDERS} does not hold Terraform's aws provider; name its folder in TF_PLUGIN_DIR")
    shutil.copytree(
        FOLDER, folder / "aws", ignore=shutil.ignore_patterns(".terraform", "*.tfstate*", "*.tfvars", "*.keys")
    )
    (folder / "aws" / "terraform" / "production.keys").write_text(write_key(KEY) + "\n")
    (folder / "aws" / "terraform" / "production.tfvars").write_text(
        f'region        = "{REGION}"\napi_key_file  = "production.keys"\n'
        'allowed_cidrs = ["203.0.113.7/32"]\nlog_days      = 30\n'
    )
    with start_cloud(folder) as cloud:
        made = Checkout(folder / "aws" / "terraform", cloud)
        for root in (".", "registry"):
            done = made.terraform("init", "-input=false", "-no-color", root=root)
            assert done.returncode == 0, done.stderr
        yield made


@pytest.fixture(scope="module", autouse=True)
def begun(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Checkout, "subprocess.Popen[str]", list[str]] | None]:
    """A deployment that is begun before the other tests, where its own runs: Terraform sleeps most of its time."""
    if not any(item.name == LIFE for item in request.session.items):
        yield None
        return
    with open_checkout(tmp_path_factory.mktemp("life")) as checkout:
        images = _push(checkout, "5-0a1b2c3d4e5f", "6-1b2c3d4e5f60")
        with (checkout.folder / "production.tfvars").open("a") as variables:
            variables.write("protect_database = false\n")
        with checkout.begin("apply", "--image", images[0]) as process:
            try:
                yield checkout, process, images
            finally:
                process.terminate()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A copy of deploy/aws, ready for plans, in whose account nothing is."""
    with open_checkout(tmp_path_factory.mktemp("terraform")) as made:
        yield made


@pytest.fixture(scope="module")
def plan(checkout: Checkout) -> Any:
    return checkout.plan()


@pytest.fixture(scope="module")
def balanced(checkout: Checkout) -> Any:
    return checkout.plan(certificate_arn=CERTIFICATE, hostname=HOSTNAME, allowed_cidrs=["0.0.0.0/0"])


@pytest.mark.parametrize("root", [".", "registry"])
def test_the_files_are_formatted_and_valid(checkout, root):
    assert checkout.terraform("fmt", "-check", "-recursive", root=root).stdout == ""
    assert json.loads(checkout.terraform("validate", "-json", root=root).stdout)["valid"]


def test_nobody_reaches_ssh(plan, balanced):
    """No rule opens port 22, and no machine has a key for it."""
    for made in (plan, balanced):
        assert all(not rule["from_port"] <= 22 <= rule["to_port"] for rule in _list(made, INGRESS))
        assert _one(made, "aws_instance").get("key_name") is None


def test_only_the_given_networks_reach_the_service(plan):
    open_to = {(rule["cidr_ipv4"], rule["from_port"]) for rule in _list(plan, INGRESS) if rule["cidr_ipv4"]}
    assert open_to == {("203.0.113.7/32", 3000)}


def test_behind_a_balancer_the_service_itself_listens_to_no_network(balanced):
    open_to = {(rule["cidr_ipv4"], rule["from_port"]) for rule in _list(balanced, INGRESS) if rule["cidr_ipv4"]}
    assert open_to == {("0.0.0.0/0", 443)}
    listener = _one(balanced, "aws_lb_listener")
    assert (listener["protocol"], listener["certificate_arn"]) == ("HTTPS", CERTIFICATE)
    assert "TLS13" in listener["ssl_policy"]


def test_the_machine_goes_out_to_aws_and_to_the_database_alone(plan):
    goals = {(rule["cidr_ipv4"], rule["from_port"]) for rule in _list(plan, "aws_vpc_security_group_egress_rule")}
    assert goals == {("0.0.0.0/0", 443), (None, 5432)}


def test_the_database_is_private_encrypted_and_kept(plan):
    database = _one(plan, "aws_db_instance")
    assert not database["publicly_accessible"]
    assert database["storage_encrypted"]
    assert database["deletion_protection"]
    assert database["manage_master_user_password"]
    assert database["backup_retention_period"] == 7
    assert not database["skip_final_snapshot"]
    assert _one(plan, "aws_db_parameter_group")["parameter"][0]["name"] == "rds.force_ssl"


def test_the_private_subnets_have_no_way_out(plan):
    """One route leads to the internet, and its table is that of the public subnets."""
    assert len(_list(plan, "aws_route")) == 1
    tables = [
        r for r in plan["configuration"]["root_module"]["resources"] if r["type"] == "aws_route_table_association"
    ]
    assert [table["name"] for table in tables] == ["public"]


def test_the_metadata_of_the_machine_wants_a_token_and_does_not_reach_the_container(plan):
    options = _one(plan, "aws_instance")["metadata_options"][0]
    assert (options["http_tokens"], options["http_put_response_hop_limit"]) == ("required", 1)


def test_every_disk_is_encrypted(plan):
    assert _one(plan, "aws_instance")["root_block_device"][0]["encrypted"]
    assert _one(plan, "aws_ebs_volume")["encrypted"]


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"region": "us-east"}, 'region "us-east" is no commercial AWS region; wanted for example "us-east-1".'),
        ({"image": "sentigate:latest"}, 'image "sentigate:latest" is no image of an ECR repository by digest; wanted'),
        ({"instance_type": "t4g.small"}, 'instance_type "t4g.small" is not known to suit: wanted x86-64'),
        ({"allowed_cidrs": ["203.0.113.7"]}, 'allowed_cidrs ["203.0.113.7"] holds what is no IPv4 network;'),
        ({"allowed_cidrs": ["0.0.0.0/0"]}, "without certificate_arn keys and texts would cross it unencrypted;"),
        ({"certificate_arn": CERTIFICATE}, "hostname null and certificate_arn go together: give both, or none."),
        ({"api_key_file": "none.keys"}, 'api_key_file "none.keys" does not exist; make it:'),
        ({"settings": {"SENTIMENT_API_KEYS": "x"}}, "keys come from api_key_file"),
        ({"vpc_cidr": "10.0.0.1/16"}, 'vpc_cidr "10.0.0.1/16" is no network of /16 to /22;'),
        ({"backup_days": 0}, "backup_days 0 is out of range; wanted 1 to 35."),
    ],
)
def test_a_value_that_cannot_be_is_named_with_what_is_wanted(checkout, variables, sentence):
    assert sentence in checkout.refuse(**{"environment": "plan", "image": IMAGES[0], **variables})


def test_without_credentials_nothing_is_begun(checkout):
    done = checkout.deploy("apply", "--image", IMAGES[0], AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"Error: AWS does not know who asks in {REGION}: Unable to locate credentials; log in"
    )


def test_without_terraform_the_way_to_it_is_named(checkout):
    assert "there is no terraform on PATH; install 1.11" in checkout.deploy("apply", PATH="/nowhere").stderr


def test_an_environment_without_a_file_names_the_file(checkout):
    assert "staging.tfvars does not exist; copy" in checkout.deploy("--environment", "staging", "apply").stderr


def test_a_region_that_aws_does_not_have_gets_those_that_it_has(checkout):
    (checkout.folder / "typo.tfvars").write_text('region = "us-esat-1"\n')
    done = checkout.deploy("--environment", "typo", "apply")
    assert "typo.tfvars: unknown region 'us-esat-1'." in done.stderr
    assert "us-east-1, us-east-2" in done.stderr


def test_an_image_that_was_never_pushed_is_not_deployed(checkout):
    done = checkout.deploy("apply", "--image", IMAGES[0])
    assert done.stderr.startswith(f"Error: {IMAGES[0]} is not in ECR; push it with `make push REGISTRY=")
    assert not _list_instances(checkout.cloud)


def test_a_deployment_comes_changes_its_image_goes_back_and_leaves_nothing(begun):
    """The whole life of a deployment; of a new image the machine learns by a parameter and stays what it is."""
    checkout, process, (first, second) = begun
    cloud = checkout.cloud
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stdout + stderr
    (machine,) = _list_instances(cloud)
    _check_machine(cloud, machine)
    _check_database(cloud)
    _check_role(cloud)
    state = (checkout.folder / "terraform.tfstate.d" / "production" / "terraform.tfstate").read_text()
    assert KEY.digest not in state
    assert cloud.call("ssm").get_parameter(Name="/sentigate-production/api-keys", WithDecryption=True)["Parameter"][
        "Value"
    ] == (write_key(KEY) + "\n")

    done = checkout.deploy("apply", "--image", second)
    assert done.stdout.strip().endswith(f"the way back: make deploy-aws ENVIRONMENT=production IMAGE={first}")
    assert _read_image(cloud) == second
    _protect(cloud, True)
    done = checkout.deploy("destroy")
    assert "the database sentigate-production is protected, nothing was destroyed; set protect_database" in done.stderr
    assert len(_list_instances(cloud)) == 1
    _protect(cloud, False)
    with (checkout.folder / "production.tfvars").open("a") as variables:
        certificate = cloud.call("acm").request_certificate(DomainName=HOSTNAME)["CertificateArn"]
        variables.write(f'certificate_arn = "{certificate}"\nhostname = "{HOSTNAME}"\n')
    done = checkout.deploy("apply", "--image", first)
    assert done.returncode == 0, done.stdout + done.stderr
    assert _read_image(cloud) == first
    assert [found["InstanceId"] for found in _list_instances(cloud)] == [machine["InstanceId"]]
    _check_balancer(cloud, machine, certificate)
    done = checkout.deploy("destroy", "--with-images")
    assert done.returncode == 0, done.stdout + done.stderr
    assert _list_remains(cloud) == []


INGRESS = "aws_vpc_security_group_ingress_rule"


def _list(plan: Any, kind: str) -> list[Any]:
    return [found["values"] for found in plan["planned_values"]["root_module"]["resources"] if found["type"] == kind]


def _one(plan: Any, kind: str) -> Any:
    (found,) = _list(plan, kind)
    return found


def _push(checkout: Checkout, *tags: str) -> list[str]:
    """Make the registry and put an image into it for each tag; return their names by digest."""
    ecr = checkout.cloud.call("ecr")
    checkout.terraform("workspace", "select", "-or-create", REGION, root="registry")
    done = checkout.terraform("apply", "-auto-approve", "-input=false", f"-var=region={REGION}", root="registry")
    assert done.returncode == 0, done.stderr
    (registry,) = ecr.describe_repositories()["repositories"]
    assert registry["imageTagMutability"] == "IMMUTABLE"
    assert registry["imageScanningConfiguration"]["scanOnPush"]
    images = []
    for tag in tags:
        kind = "application/vnd.docker.image.rootfs.diff.tar.gzip"
        layer = {"mediaType": kind, "size": 1, "digest": f"sha256:{tag:0<64}"}
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": layer, "layers": [layer], "tag": tag})
        pushed = ecr.put_image(repositoryName="sentigate", imageManifest=manifest, imageTag=tag)["image"]
        images.append(f"{registry['repositoryUri']}@{pushed['imageId']['imageDigest']}")
    return images


def _check_machine(cloud: Cloud, machine: Any) -> None:
    ec2 = cloud.call("ec2")
    assert machine["MetadataOptions"]["HttpTokens"] == "required"
    assert "KeyName" not in machine
    told = ec2.describe_instance_attribute(InstanceId=machine["InstanceId"], Attribute="userData")["UserData"]["Value"]
    user_data = base64.b64decode(told).decode()
    assert user_data.startswith("#cloud-config\n")
    assert len(user_data) < 16_384
    assert not any(secret in user_data for secret in (KEY.digest, "password=", 'SecretString":'))
    volumes = ec2.describe_volumes(Filters=[{"Name": "tag:Name", "Values": ["sentigate-production-state"]}])["Volumes"]
    assert [volume["Encrypted"] for volume in volumes] == [True]
    assert volumes[0]["Attachments"][0]["InstanceId"] == machine["InstanceId"]


def _check_database(cloud: Cloud) -> None:
    (database,) = cloud.call("rds").describe_db_instances()["DBInstances"]
    assert not database["PubliclyAccessible"]
    assert database["StorageEncrypted"]
    assert database["MasterUserSecret"]["SecretArn"]
    wanted = json.loads(cloud.call("ssm").get_parameter(Name="/sentigate-production/database")["Parameter"]["Value"])
    assert wanted["host"] == database["Endpoint"]["Address"]
    assert wanted["secret"] == database["MasterUserSecret"]["SecretArn"]


def _check_role(cloud: Cloud) -> None:
    """Every right is for one named thing, but those that AWS grants for nothing smaller than everything."""
    iam = cloud.call("iam")
    name = f"sentigate-production-{REGION}"
    assert iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"] == []
    statements = iam.get_role_policy(RoleName=name, PolicyName="service")["PolicyDocument"]["Statement"]
    for statement in statements:
        actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        resources = [statement["Resource"]] if isinstance(statement["Resource"], str) else statement["Resource"]
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in actions)
        if set(actions) - TAKE_NO_RESOURCE:
            assert all(resource.count(":") >= 5 and "*" not in resource.split(":")[:5] for resource in resources)
            assert all(not resource.endswith(":*") or ":log-group:" in resource for resource in resources)


def _protect(cloud: Cloud, protected: bool) -> None:
    cloud.call("rds").modify_db_instance(DBInstanceIdentifier="sentigate-production", DeletionProtection=protected)


def _check_balancer(cloud: Cloud, machine: Any, certificate: str) -> None:
    balancers = cloud.call("elbv2")
    (balancer,) = balancers.describe_load_balancers()["LoadBalancers"]
    (listener,) = balancers.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    assert (listener["Protocol"], listener["Certificates"][0]["CertificateArn"]) == ("HTTPS", certificate)
    (group,) = balancers.describe_target_groups()["TargetGroups"]
    assert group["HealthCheckPath"] == "/readyz"
    targets = balancers.describe_target_health(TargetGroupArn=group["TargetGroupArn"])["TargetHealthDescriptions"]
    assert [target["Target"]["Id"] for target in targets] == [machine["InstanceId"]]
    assert cloud.call("ec2").describe_addresses()["Addresses"] == []


def _read_image(cloud: Cloud) -> str:
    return str(cloud.call("ssm").get_parameter(Name="/sentigate-production/image")["Parameter"]["Value"])


def _list_instances(cloud: Cloud) -> list[Any]:
    running = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
    found = cloud.call("ec2").describe_instances(Filters=running)["Reservations"]
    return [instance for reservation in found for instance in reservation["Instances"]]


def _list_remains(cloud: Cloud) -> list[str]:
    """Return what of ours is left; the default VPC of the account is not."""
    ec2, ssm = cloud.call("ec2"), cloud.call("ssm")
    ours = [{"Name": "tag:Project", "Values": ["sentigate"]}]
    return [
        *(found["InstanceId"] for found in _list_instances(cloud)),
        *(found["VpcId"] for found in ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["false"]}])["Vpcs"]),
        *(found["VolumeId"] for found in ec2.describe_volumes(Filters=ours)["Volumes"]),
        *(
            found["GroupId"]
            for found in ec2.describe_security_groups()["SecurityGroups"]
            if found["GroupName"] != "default"
        ),
        *(found["AllocationId"] for found in ec2.describe_addresses()["Addresses"]),
        *(found["DBInstanceIdentifier"] for found in cloud.call("rds").describe_db_instances()["DBInstances"]),
        *(found["DBSnapshotIdentifier"] for found in cloud.call("rds").describe_db_snapshots()["DBSnapshots"]),
        *(found["Name"] for found in ssm.describe_parameters()["Parameters"] if "sentigate" in found["Name"]),
        *(found["LoadBalancerName"] for found in cloud.call("elbv2").describe_load_balancers()["LoadBalancers"]),
        *(found["RoleName"] for found in cloud.call("iam").list_roles()["Roles"]),
        *(found["logGroupName"] for found in cloud.call("logs").describe_log_groups()["logGroups"]),
        *(found["repositoryName"] for found in cloud.call("ecr").describe_repositories()["repositories"]),
    ]
