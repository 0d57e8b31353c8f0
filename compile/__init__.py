"""From a model file to the fixed-point graph and out again as ONNX."""

if __name__ != "samebits.compile":
    raise ImportError(
        f"import samebits.compile, not {__name__}: the repository root must not be on sys.path"
    )
