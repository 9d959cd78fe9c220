import json
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

assert Path(os.environ["GF_SECURITY_ADMIN_PASSWORD__FILE"]).read_text(encoding="utf-8")
assert {path.parent.name for path in Path("/etc/grafana/provisioning").glob("*/*.yml")} == {"dashboards", "datasources"}
home = Path(os.environ["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
assert json.loads(home.read_text(encoding="utf-8"))["uid"]
Path("/var/lib/grafana/grafana.db").touch()


class Health(BaseHTTPRequestHandler):
    """`GET /api/health`."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()


HTTPServer(("0.0.0.0", 3000), Health).serve_forever()
