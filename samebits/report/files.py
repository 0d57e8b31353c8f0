"""The report's two files, written whole or not at all, and read back."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from samebits import errors

from .facts import ReportFacts
from .html import plots_of, render_html

__all__ = ["PLOTS", "ReportFiles", "read_facts", "write_plots", "write_report"]


@dataclass(frozen=True)
class ReportFiles:
    """Where the report was written."""

    html: Path
    json: Path


PLOTS = "plots"


def write_plots(facts: ReportFacts, folder: str | Path) -> Path:
    """Writes every plot of the report as PDF and PNG into plots/ of `folder`; gives that folder.

    Plots of an earlier report that are not in this one are removed.

    Raises: BuildError where it cannot be written; MissingToolError without matplotlib or mplhep.
    """
    place = Path(folder) / PLOTS
    found = [plot for plots in plots_of(facts).values() for plot in plots]
    for plot in found:
        for kind in ("pdf", "png"):
            plot.save(place / f"{plot.name}.{kind}")
    names = {plot.name for plot in found}
    for path in place.glob("*.p[dn][fg]"):
        if path.stem not in names:
            path.unlink()
    return place


def write_report(facts: ReportFacts, folder: str | Path) -> ReportFiles:
    """Write report.json and report.html into `folder`; the same facts give the same bytes.

    Both are complete before either takes its name, so an interrupted run leaves the old ones.

    Raises: BuildError where `folder` cannot be written; MissingToolError without jinja2, matplotlib
    or mplhep.
    """
    folder = Path(folder)
    files = ReportFiles(html=folder / "report.html", json=folder / "report.json")
    texts = {
        files.json: facts.model_dump_json(indent=1) + "\n",
        files.html: render_html(facts),
    }
    finished: dict[Path, Path] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=folder)
            finished[path] = Path(name)
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
                stream.write(text)
            finished[path].chmod(0o644)
        for path, temporary in finished.items():
            temporary.replace(path)
    except OSError as error:
        raise errors.BuildError(
            f"cannot write the report into {folder}: {error.strerror or error}; "
            "give a folder that can be written"
        ) from error
    finally:
        for temporary in finished.values():
            temporary.unlink(missing_ok=True)
    return files


def read_facts(path: str | Path) -> ReportFacts:
    """The facts of a report.json (or of the build directory that holds one).

    Raises: BuildError for a missing or damaged file, and for facts of another schema version.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "report.json"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise errors.BuildError(
            f"cannot read {path}: {reason}; make it with `samebits report`"
        ) from error
    try:
        return ReportFacts.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise errors.BuildError(
            f"{path} is not a report of this version of samebits: {first['msg']} at {where}, and "
            f"{error.error_count() - 1} more; make it again with `samebits report`"
        ) from error
