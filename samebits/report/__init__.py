"""The report of a design: its facts, report.json, report.html and the closing table."""

from .facts import ReportFacts
from .files import ReportFiles, read_facts, write_plots, write_report
from .html import render_html
from .terminal import render_terminal

__all__ = [
    "ReportFacts",
    "ReportFiles",
    "read_facts",
    "render_html",
    "render_terminal",
    "write_plots",
    "write_report",
]
