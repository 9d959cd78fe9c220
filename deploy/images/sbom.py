"""`python -m deploy.images.sbom`: what is in an image, its Python and its Debian packages, as a CycloneDX file."""

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
from packaging.utils import canonicalize_name

from deploy.cli_errors import say_in_one_sentence
from deploy.images.engines import Engine, find_engine
from sentiment.errors import DeployError
from sentiment.model_name import BENTO
from sentiment.paths import locate_state

RUNNERS = ("docker", "podman")
# Run in the image, without a network: what is installed there, as the package managers themselves know it.
LIST_INSTALLED = r"""
import importlib.metadata, json, platform, subprocess
python = [
    {"name": found.name, "version": found.version, "license": found.metadata["License-Expression"]}
    for found in importlib.metadata.distributions()
]
query = ["dpkg-query", "--show", "--showformat", "${Package} ${Version} ${Architecture}\n"]
debian = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
system = platform.freedesktop_os_release()
print(json.dumps({"python": python, "debian": debian, "system": f"{system['ID']}-{system['VERSION_ID']}",
    "interpreter": platform.python_version()}))
"""


def list_components(installed: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a component for each package, named by its package URL."""
    interpreter = installed["interpreter"]
    components = [_name("python", interpreter, f"pkg:generic/python@{interpreter}")]
    for found in sorted(installed["python"], key=lambda found: str(found["name"]).lower()):
        purl = f"pkg:pypi/{canonicalize_name(found['name'])}@{quote(found['version'])}"
        licences = {"licenses": [{"expression": found["license"]}]} if found["license"] else {}
        components.append({**_name(found["name"], found["version"], purl), **licences})
    distribution = installed["system"]
    for line in installed["debian"]:
        name, version, architecture = line.split()
        kind = f"pkg:deb/{distribution.partition('-')[0]}/{quote(name)}@{quote(version)}"
        components.append(_name(name, version, f"{kind}?arch={architecture}&distro={distribution}"))
    return components


def _name(name: str, version: str, purl: str) -> dict[str, Any]:
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def describe_image(engine: Engine, image: str) -> dict[str, Any]:
    """Return the component that the bill is about: the image, with its id and its labels."""
    (described,) = json.loads(engine.run("image", "inspect", image))
    labels: dict[str, str] = described["Config"].get("Labels") or {}
    return {
        "type": "container",
        "bom-ref": "image",
        "name": labels.get("org.opencontainers.image.title", BENTO),
        "version": labels.get("org.opencontainers.image.version", ""),
        "hashes": [{"alg": "SHA-256", "content": described["Id"].removeprefix("sha256:")}],
        "properties": [{"name": name, "value": value} for name, value in sorted(labels.items())],
    }


def make_bill(engine: Engine, image: str) -> dict[str, Any]:
    """Return the bill of materials of an image. Raises DeployError when there is no such image."""
    if engine.find_image(image) is None:
        raise DeployError(f"{engine.name} has no image {image}; build it with `make image`, or name one with IMAGE=.")
    asked = engine.run("run", "--rm", "--network", "none", "--entrypoint", "python", image, "-c", LIST_INSTALLED)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid4().urn,
        "version": 1,
        "metadata": {
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "component": describe_image(engine, image),
        },
        "components": list_components(json.loads(asked)),
    }


@click.command()
@click.argument("image", default=f"{BENTO}:latest")
@click.option("--backend", type=click.Choice(["auto", *RUNNERS]), default="auto", show_default=True, help="Engine.")
@click.option("--output", type=click.Path(path_type=Path), help="File to write; by default in the state folder.")
@say_in_one_sentence
def main(image: str, backend: str, output: Path | None) -> None:
    """List what is in IMAGE, sentigate:latest by default, as CycloneDX JSON."""
    bill = make_bill(find_engine(backend, among=RUNNERS), image)
    name = image.rpartition("/")[2].replace(":", "-").replace("@", "-")
    to = output or locate_state().folder / "sbom" / f"{name}.cdx.json"
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(json.dumps(bill, indent=2) + "\n", encoding="utf-8")
    click.echo(f"{len(bill['components'])} packages of {image} are listed in {to}")


if __name__ == "__main__":
    main()
