"""moto's server, but that a new database has the certificate authority that AWS gives it.

moto calls that one `rds-ca-default`. Terraform's provider takes it for a wrong one, and changing it takes 80 s more:
https://github.com/hashicorp/terraform-provider-aws/blob/v5.100.0/internal/service/rds/instance.go
"""

from functools import wraps
from typing import Any

from moto.rds.models import DBInstance
from moto.server import main

AUTHORITY = "rds-ca-rsa2048-g1"
make_instance = DBInstance.__init__


@wraps(make_instance)
def make_instance_as_aws(self: DBInstance, *arguments: Any, **options: Any) -> None:
    make_instance(self, *arguments, **{"ca_certificate_identifier": AUTHORITY, **options})


if __name__ == "__main__":
    DBInstance.__init__ = make_instance_as_aws
    main()
