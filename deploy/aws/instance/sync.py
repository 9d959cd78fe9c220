#!/usr/bin/python3
"""Bring this machine to what its parameters say: image, settings, keys and database; `--restart` when they changed.

Only Amazon Linux's own Python 3.9, aws and docker are needed. Secrets lie in memory, readable by root and by the user
of the container. What cannot be had leaves everything that needs it as it was.
"""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

RUN = Path(os.environ.get("SENTIGATE_RUN", "/run/sentigate"))
ETC = Path(os.environ.get("SENTIGATE_ETC", "/etc/sentigate"))
CONTAINER_USER = 1034
PARAMETERS = ("image", "settings", "database", "api-keys")


def main() -> None:
    """Look up what is wanted, and make it so."""
    make_folders()
    lock = (RUN / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)  # the service and the timer both come here
    configuration = json.loads((ETC / "instance.json").read_text())
    region = configuration["region"]
    wanted = read_parameters(configuration["name"], region)
    try:
        write("secrets/api-keys", wanted["api-keys"])  # first, so that a key is withdrawn whatever else fails
        write("logging", "\n".join(list_logging(configuration)) + "\n")
        write("settings", "".join(f"{name}={value}\n" for name, value in json.loads(wanted["settings"]).items()))
        database = json.loads(wanted["database"])
        secret = aws("secretsmanager", "get-secret-value", region, "--secret-id", database["secret"])
        write("secrets/database-url", make_url(json.loads(secret["SecretString"]), database))
        pull(wanted["image"])
        write("image", wanted["image"])
    finally:
        if "--restart" in sys.argv and is_outdated():
            run("systemctl", "try-restart", "--no-block", "sentigate.service")


def is_outdated() -> bool:
    """Return whether the service was started before what it read then was written; new keys it takes by itself."""
    started = RUN / "started"
    files = [RUN / name for name in ("secrets/database-url", "settings", "logging", "image")]
    return started.exists() and max(file.stat().st_mtime_ns for file in files) > started.stat().st_mtime_ns


def read_parameters(name: str, region: str) -> "dict[str, str]":
    """Return what Parameter Store says, by the last part of the names."""
    names = [f"/{name}/{parameter}" for parameter in PARAMETERS]
    answer = aws("ssm", "get-parameters", region, "--with-decryption", "--names", *names)
    if answer["InvalidParameters"]:
        sys.exit(f"Parameter Store has no {', '.join(answer['InvalidParameters'])} in {region}; run terraform apply.")
    return {parameter["Name"].rsplit("/", 1)[1]: parameter["Value"] for parameter in answer["Parameters"]}


def make_url(login: "dict[str, str]", database: "dict[str, str]") -> str:
    """Return DATABASE_URL; the certificate of the server has to be one of RDS, for its name."""
    user, password = (quote(login[part], safe="") for part in ("username", "password"))
    place = f"{database['host']}:{database['port']}/{database['name']}"
    return f"postgresql://{user}:{password}@{place}?sslmode=verify-full&sslrootcert=/etc/ssl/rds.pem"


def list_logging(configuration: "dict[str, str]") -> "list[str]":
    """Return docker's options; the journal has what the container says anyway, and CloudWatch never holds it up."""
    if not configuration["log_group"]:
        return ["--log-driver=none"]
    options = {"awslogs-group": configuration["log_group"], "awslogs-region": configuration["region"]}
    return ["--log-driver=awslogs", "--log-opt=mode=non-blocking", *(f"--log-opt={k}={v}" for k, v in options.items())]


def pull(image: str) -> None:
    """Pull an image where docker does not have it."""
    if subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode == 0:
        return
    # Before the pull: the image that comes may be an old one, too.
    run("docker", "image", "prune", "--all", "--force", "--filter", "until=720h")
    registry = image.partition("/")[0]
    os.environ["DOCKER_CONFIG"] = str(RUN / "docker")
    password = run("aws", "ecr", "get-login-password", "--region", registry.split(".")[3])
    run("docker", "login", "--username", "AWS", "--password-stdin", registry, given=password)
    try:
        run("docker", "pull", "--quiet", image)
    finally:
        run("docker", "logout", registry)


def make_folders() -> None:
    """Make the folder of this run, for root, and in it that of the secrets, which the container sees."""
    (RUN / "secrets").mkdir(parents=True, exist_ok=True)
    RUN.chmod(0o700)
    os.chown(RUN / "secrets", 0, CONTAINER_USER)
    (RUN / "secrets").chmod(0o750)


def write(name: str, content: str) -> None:
    """Write a file that says something new; a reader sees the old one or the new one."""
    file, new = RUN / name, RUN / f"{name}.new"
    if file.exists() and file.read_text() == content:
        return
    new.touch(mode=0o600)
    new.write_text(content)
    os.chown(new, 0, CONTAINER_USER)
    new.chmod(0o440)
    new.replace(file)


def aws(service: str, action: str, region: str, *options: str) -> Any:
    """Return what AWS answers."""
    return json.loads(run("aws", service, action, "--region", region, "--output", "json", *options))


def run(*command: str, given: str = "") -> str:
    """Return what a command prints; when it fails, end with its words."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[:3])} failed: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    main()
