"""The headings of `samebits --help`, and the examples at the end of every command's --help."""

from __future__ import annotations

__all__ = ["EXAMPLES", "GROUPS", "epilog"]

GROUPS: dict[str, tuple[str, ...]] = {
    "From data to verified firmware": (
        *("demo", "data", "train", "export", "compile", "simulate", "verify", "report"),
    ),
    "Trigger": ("trigger", "compare"),
    "Firmware": ("rtl", "build", "library", "emulate"),
    "Smaller and faster": ("sweep", "tune"),
    "Bits that stay": ("ranges", "freeze", "check", "match", "diff"),
    "Installation": ("doctor",),
}

EXAMPLES: dict[str, tuple[str, ...]] = {
    "demo": ("demo", "demo --fast -o build/fast"),
    "data": (
        "data build/demo -o test.npz",
        "data jets --classes t -o top.npz",
    ),
    "train": (
        "train -o build --hidden 32,16 --weight-bits 4 --pruning 0.5",
        "train -o build --network net.toml --data events.parquet",
    ),
    "export": ("export build/model.keras", "export mine.keras -o mine.onnx"),
    "compile": (
        "compile model.onnx -o build --part xcvu9p-flga2104-2L-e --clock-mhz 240",
        "compile float.onnx -o build --calibrate events.npz --bits 8",
        "compile model.onnx -o build --reuse-factor 4 --strategy Resource",
    ),
    "simulate": (
        "simulate build events.root -o scores.npz",
        "simulate build events.npz --trace -o layers.npz",
    ),
    "verify": (
        "verify build",
        "verify build events.npz --against csim,onnxruntime,native,rtl",
        "verify build --junit verify.xml",
    ),
    "report": (
        "report build --plots",
        "report build --data labelled.parquet --budget-ns 100 --gates gates.toml",
    ),
    "trigger": (
        "trigger build --unbiased zero_bias.root --signal tt.root --bunches 2340 --rate-khz 30 "
        "--score 1",
        "trigger build --unbiased zero_bias.root --signal tt.root --bunches 2340 --menu menu.toml",
    ),
    "compare": ("compare build/a build/b", "compare build/a build/b --data jets -o compare.html"),
    "rtl": ("rtl build", "rtl build --vhdl --clock-mhz 320", "rtl build --synthesise"),
    "build": ("build build/mine --vitis", "build build/mine --vitis --vivado"),
    "library": ("library build --name jets --version 3",),
    "emulate": ("emulate firmware.onnx events.root -o scores.parquet",),
    "sweep": (
        "sweep build --width 4..8 --clock 200,320 --reuse 1,2,4",
        "sweep float.onnx --calibrate events.npz --data labelled.npz --width 6,8",
    ),
    "tune": (
        "tune build --max-auc-drop 0.002 -o build/small",
        "tune build --max-ebops-share 0.5 --train -o build/half",
    ),
    "ranges": ("ranges build", "ranges build events.npz --save overflows.npz"),
    "freeze": ("freeze build -o golden",),
    "check": ("check golden build", "check golden --firmware firmware.onnx --junit check.xml"),
    "match": ("match build events.root cmssw.root", "match build events.npz answers.csv --raw"),
    "diff": ("diff old/firmware.onnx new/firmware.onnx --data events.npz",),
    "doctor": ("doctor",),
}


def epilog(command: str) -> str:
    """The examples of a command as its --help shows them, one a line."""
    return "\n".join(("Examples:", *(f"  samebits {text}" for text in EXAMPLES[command])))
