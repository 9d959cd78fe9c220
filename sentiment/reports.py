"""Reports as HTML pages that stand alone: no script, no style and no picture from elsewhere."""

import base64
import io
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from matplotlib.figure import Figure

from sentiment.plots import plot_dataset
from sentiment.validation import ValidationReport

TEMPLATES = Path(__file__).parent / "templates"


def render_validation(report: ValidationReport) -> str:
    """Return the validation report as a page."""
    page = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True).get_template("validation.html")
    return page.render(report=report, picture=_encode_picture(plot_dataset(report)))


def _encode_picture(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return base64.b64encode(buffer.getvalue()).decode()
