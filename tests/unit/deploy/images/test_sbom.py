"""The bill of materials: one component for each package, under the name that scanners know."""

from deploy.images.sbom import list_components

INSTALLED = {
    "interpreter": "3.11.9",
    "python": [
        {"name": "SQLAlchemy", "version": "2.0.58", "license": "MIT"},
        {"name": "a_b", "version": "1+c", "license": None},
    ],
    "debian": ["libc6 2.36-9+deb12u13 amd64"],
    "system": "debian-12",
}


def test_each_package_has_its_package_url():
    """Scanners look vulnerabilities up by it."""
    assert [component["purl"] for component in list_components(INSTALLED)] == [
        "pkg:generic/python@3.11.9",
        "pkg:pypi/a-b@1%2Bc",
        "pkg:pypi/sqlalchemy@2.0.58",
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u13?arch=amd64&distro=debian-12",
    ]


def test_a_licence_is_named_where_the_package_names_one():
    """Nothing is guessed."""
    without, named = list_components(INSTALLED)[1:3]
    assert named["licenses"] == [{"expression": "MIT"}]
    assert "licenses" not in without
