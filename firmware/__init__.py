"""HLS and RTL projects, the tools that build them, and their reports."""

if __name__ != "samebits.firmware":
    raise ImportError(
        f"import samebits.firmware, not {__name__}: the repository root must not be on sys.path"
    )
