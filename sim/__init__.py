"""Engines that run the fixed-point graph, the comparison of their bits, and metrics."""

if __name__ != "samebits.sim":
    raise ImportError(
        f"import samebits.sim, not {__name__}: the repository root must not be on sys.path"
    )
