"""A stand-in of AWS on this machine: moto's server, and what points Terraform, boto3 and the CLI at it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from release.smoke_test import find_free_port
from sentiment.paths import CHECKOUT

REGION = "us-east-1"
ACCOUNT = "123456789012"


@dataclass(frozen=True)
class Cloud:
    """Where the stand-in answers."""

    url: str

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k not in {"TF_CLI_CONFIG_FILE", "AWS_CA_BUNDLE", "AWS_PROFILE"}}
        return {
            **kept,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def call(self, service: str) -> Any:
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        return boto3.client(service, region_name=REGION, endpoint_url=self.url, **keys)


@contextmanager
def start_cloud(folder: Path) -> Iterator[Cloud]:
    """Yield a stand-in with nothing in it."""
    port = find_free_port()
    command = [sys.executable, "-m", "tests.support.deploy.aws_server", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "moto.log").open("w") as log:
        process = subprocess.Popen(command, cwd=CHECKOUT, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/moto-api/")
        yield Cloud(url)
    finally:
        process.kill()
        process.wait()


def wait_for(url: str, seconds: float = 60.0) -> None:
    """Wait until something answers, whatever it says."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            httpx.get(url)
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"{url} does not answer after {seconds:.0f} s")
