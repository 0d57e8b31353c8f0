"""A stand-in for vitis-run, vitis_hls, vivado_hls and vivado that writes reports as they do.

What goes wrong is told by FAKE: hang, fail, silent (no report), cut (a truncated report), memory
(a data file not found), mismatch (the co-simulation fails). Every call is a line in FAKE_CALLS.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

DATA = Path(__file__).parent / "data" / "vendor_reports"
FAKE = os.environ.get("FAKE", "")


def copy(source: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    text = (DATA / source).read_text()
    if FAKE == "cut":
        text = text[: len(text) // 2]
    if FAKE == "mismatch":
        text = text.replace("Pass|", "Fail|")
    target.write_text(text)


def options() -> dict[str, bool]:
    """The steps of build_prj.tcl, from build_opt.tcl or the arguments of vivado_hls."""
    path = Path("build_opt.tcl")
    text = path.read_text() if path.exists() else sys.argv[-1]
    return {name: value == "1" for name, value in re.findall(r"(\w+)[ =]+([01])\b", text)}


def hls(name: str) -> None:
    assert Path("build_prj.tcl").is_file()
    opt = options()
    solution = Path(f"{name}_prj") / "solution1"
    if opt["reset"]:
        shutil.rmtree(f"{name}_prj", ignore_errors=True)
    if opt["csim"]:
        print("***** C SIMULATION *****")
    if opt["synth"]:
        print("***** C/RTL SYNTHESIS *****")
        print(f"INFO: [HLS 200-10] -- Implementing module '{name}'", flush=True)
        copy("vitis_hls_2023.2_csynth.xml", solution / "syn" / "report" / f"{name}_csynth.xml")
        (solution / "syn" / "verilog").mkdir(parents=True, exist_ok=True)
        (solution / "syn" / "verilog" / f"{name}.v").write_text(f"module {name}; endmodule\n")
    if opt["cosim"]:
        print("***** C/RTL SIMULATION *****")
        assert opt["csim"]
        assert opt["validation"]
        copy("vitis_hls_2023.2_cosim.rpt", solution / "sim" / "report" / f"{name}_cosim.rpt")


def vivado() -> None:
    script = Path(sys.argv[-1])
    text = script.read_text()
    found = re.search(r'^set project_name "(\w+)"', text, re.M)
    pattern = "vivado_{}_{}.rpt"
    if found:
        pattern = f"output_{found[1]}/reports/{found[1]}_{{}}_{{}}.rpt"
    else:
        assert Path("net_prj/solution1/syn/verilog/net.v").is_file()
    stages = ["post_synth", *(["post_route"] if "route_design" in text else [])]
    for stage in stages:
        print("Starting synth_design" if stage == "post_synth" else "Starting Routing Task")
        for what, source in (("util", "util"), ("timing", "timing_met"), ("power", "power")):
            copy(f"vivado_2023.2_{source}.rpt", Path(pattern.format(stage, what)))
    Path("vivado.log").write_text("INFO: [Common 17-206] Exiting Vivado\n")


def main() -> None:
    with open(os.environ["FAKE_CALLS"], "a") as calls:
        calls.write(" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]) + "\n")
    if FAKE == "hang":
        sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
        children = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)]
        pids = Path(os.environ["FAKE_CALLS"]).with_name("pids")
        pids.write_text(" ".join(str(child.pid) for child in children))
        print("***** C/RTL SYNTHESIS *****", flush=True)
        time.sleep(60)
    print(
        "ERROR: [HLS 200-642] The 'config_array_partition -maximum_size' command is not supported."
    )
    if FAKE == "fail":
        print("INFO: [HLS 200-10] Running\nERROR: [HLS 207-3776] use of undeclared 'x'\nmore")
        sys.exit(1)
    if FAKE == "memory":
        print("CRITICAL WARNING: [Synth 8-4445] could not open $readmem data file './t.dat'; p")
    if FAKE != "silent":
        vivado() if Path(sys.argv[0]).name == "vivado" else hls("net")
    print("INFO: [HLS 200-112] Total CPU user time: 1 seconds")


main()
