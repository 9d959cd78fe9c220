"""Registries of images, whoever asks one: how places in them are named, and by which words they refuse.

They are asked elsewhere: through docker or podman in `push`, through skopeo in `registry`.
"""

import re

REPOSITORY = r"(?P<host>[a-z0-9.-]+(?::\d+)?)/(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
DIGEST = r"sha256:[0-9a-f]{64}"
ECR = r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com"
LOOPBACK = re.compile(r"(localhost|127\.\d+\.\d+\.\d+)(:\d+)?")
REFUSED = re.compile(r"unauthorized|denied|forbidden|authentication required|no basic auth", re.IGNORECASE)
UNREACHABLE = re.compile(r"no such host|refused|timeout|timed out|unreachable", re.IGNORECASE)
