"""Data sets, models and fitting: everything before a trained network exists."""

if __name__ != "samebits.train":
    raise ImportError(
        f"import samebits.train, not {__name__}: the repository root must not be on sys.path"
    )
