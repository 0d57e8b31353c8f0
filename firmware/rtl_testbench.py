"""A testbench for any simulator, in the RTL's language; what stands at the ports in every cycle is
in files.

The stream is the one of `rtl_stream`: back to back, with bubbles, across resets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

from .rtl import LANGUAGES, Rtl
from .rtl_stream import Schedule, schedule, stimulus
from .rtl_text import Port

__all__ = ["TESTBENCH", "write_testbench"]

TESTBENCH = "testbench"


def write_testbench(
    rtl: Rtl,
    inputs: Sequence[npt.NDArray[Any]],
    answers: Sequence[npt.NDArray[Any]],
    seed: int = 0,
) -> Path:
    """Writes testbench/ into the RTL's folder, and gives the file of its module or entity.

    Args:
        inputs: mantissas (N, *shape) for every input.
        answers: the right mantissas (N, *shape) for every output.
        seed: of bubbles, resets and the random bits in them.

    Raises:
        BuildError: the folder cannot be written.
    """
    rng = np.random.default_rng(seed)
    planned = schedule(len(inputs[0]), rtl.latency_cycles, rng)
    given = stimulus(rtl, planned, inputs, rng)
    shown = planned.answers(rtl.latency_cycles)
    wanted = [values[np.maximum(shown, 0)] for values in answers]
    folder = rtl.folder / TESTBENCH
    path = folder / f"{rtl.top}_tb.{LANGUAGES[rtl.language]}"
    try:
        folder.mkdir(exist_ok=True)
        sent = [planned.in_valid.astype(np.int64), planned.rst.astype(np.int64)]
        (folder / "stimulus.hex").write_text(_lines(sent, given, rtl.inputs))
        (folder / "expected.hex").write_text(
            _lines([(shown >= 0).astype(np.int64)], wanted, rtl.outputs)
        )
        text = _verilog if rtl.language == "verilog" else _vhdl
        path.write_text(text(rtl, planned), encoding="ascii")
    except OSError as error:
        raise errors.BuildError(f"{folder}: cannot be written: {error.strerror or error}") from None
    return path


def _lines(
    flags: Sequence[npt.NDArray[Any]], values: Sequence[npt.NDArray[Any]], ports: Sequence[Port]
) -> str:
    """One hexadecimal number for every cycle: flags in the lowest bits, then the ports."""
    lines = []
    for cycle in range(len(flags[0])):
        word, place = 0, 0
        for flag in flags:
            word |= int(flag[cycle]) << place
            place += 1
        for array, port in zip(values, ports, strict=True):
            width = port.format.width
            for mantissa in array[cycle].flat:
                word |= (int(mantissa) % (1 << width)) << place
                place += width
        lines.append(f"{word:0{-(-place // 4)}x}\n")
    return "".join(lines)


def _verilog(rtl: Rtl, planned: Schedule) -> str:
    ports = (*rtl.inputs, *rtl.outputs)
    width_in = 2 + sum(port.bits for port in rtl.inputs)
    width_out = 1 + sum(port.bits for port in rtl.outputs)
    first = int(np.argmax(planned.rst))
    declared = "\n    ".join(
        [f"reg [{port.bits - 1}:0] {port.port};" for port in rtl.inputs]
        + [f"wire [{port.bits - 1}:0] {port.port};" for port in rtl.outputs]
    )
    connected = ", ".join(f".{port.port}({port.port})" for port in ports)
    given = ", ".join([port.port for port in reversed(rtl.inputs)] + ["rst", "in_valid"])
    made = ", ".join(port.port for port in reversed(rtl.outputs))
    return f"""`timescale 1 ns / 1 ps

// Run it in the folder of the two .hex files. The last line says PASS or FAIL.
module {rtl.top}_tb;
    localparam CYCLES = {len(planned.event)};
    localparam RESET = {first}; // before it the registers hold anything
    reg [{width_in - 1}:0] stimulus [0:CYCLES - 1];
    reg [{width_out - 1}:0] expected [0:CYCLES - 1];
    reg clk, rst, in_valid;
    wire out_valid;
    {declared}
    integer cycle, answers, failures;

    {rtl.top} dut (.clk(clk), .rst(rst), .in_valid(in_valid), .out_valid(out_valid),
        {connected});

    initial begin
        $readmemh("stimulus.hex", stimulus);
        $readmemh("expected.hex", expected);
        clk = 0;
        answers = 0;
        failures = 0;
        for (cycle = 0; cycle < CYCLES; cycle = cycle + 1) begin
            {{{given}}} = stimulus[cycle];
            #1 clk = 1;
            #1;
            if (cycle >= RESET && out_valid !== expected[cycle][0]) begin
                failures = failures + 1;
                $display("cycle %0d: out_valid is %b", cycle, out_valid);
            end
            if (expected[cycle][0]) begin
                answers = answers + 1;
                if ({{{made}}} !== expected[cycle][{width_out - 1}:1]) begin
                    failures = failures + 1;
                    $display("cycle %0d: wrong answer", cycle);
                end
            end
            clk = 0;
            #1;
        end
        if (failures == 0) $display("PASS: %0d answers in %0d cycles", answers, CYCLES);
        else $display("FAIL: %0d failures in %0d cycles", failures, CYCLES);
        $finish;
    end
endmodule
"""


def _vhdl(rtl: Rtl, planned: Schedule) -> str:
    """VHDL-2008, for `hread`."""
    ports = (*rtl.inputs, *rtl.outputs)
    width_in = 2 + sum(port.bits for port in rtl.inputs)
    width_out = 1 + sum(port.bits for port in rtl.outputs)
    declared = "\n    ".join(
        f"signal {port.port} : std_logic_vector({port.bits - 1} downto 0);" for port in ports
    )
    connected = ", ".join(f"{port.port} => {port.port}" for port in ports)
    puts, start = [], 2
    for port in rtl.inputs:
        puts.append(f"{port.port} <= stimulus({start + port.bits - 1} downto {start});")
        start += port.bits
    put = "\n            ".join(puts)
    wrong, start = [], 1
    for port in rtl.outputs:
        wrong.append(f"{port.port} /= expected({start + port.bits - 1} downto {start})")
        start += port.bits
    return f"""-- Run it in the folder of the two .hex files. The last line says PASS or FAIL.
library ieee;
use ieee.std_logic_1164.all;
use std.textio.all;

entity {rtl.top}_tb is
end entity;

architecture simulation of {rtl.top}_tb is
    -- before it the registers hold anything
    constant RESET : natural := {int(np.argmax(planned.rst))};
    signal clk, rst, in_valid : std_logic := '0';
    signal out_valid : std_logic;
    {declared}
begin
    dut : entity work.{rtl.top} port map (
        clk => clk, rst => rst, in_valid => in_valid, out_valid => out_valid, {connected});

    process
        file stimulus_file : text open read_mode is "stimulus.hex";
        file expected_file : text open read_mode is "expected.hex";
        variable given : line;
        variable wanted : line;
        variable stimulus : std_logic_vector({width_in - 1} downto 0);
        variable expected : std_logic_vector({width_out - 1} downto 0);
        variable cycle, answers, failures : natural := 0;
    begin
        while not endfile(stimulus_file) loop
            readline(stimulus_file, given);
            hread(given, stimulus);
            readline(expected_file, wanted);
            hread(wanted, expected);
            in_valid <= stimulus(0);
            rst <= stimulus(1);
            {put}
            wait for 1 ns;
            clk <= '1';
            wait for 1 ns;
            if cycle >= RESET and out_valid /= expected(0) then
                failures := failures + 1;
                report "cycle " & integer'image(cycle) & ": wrong out_valid" severity warning;
            end if;
            if expected(0) = '1' then
                answers := answers + 1;
                if {" or ".join(wrong)} then
                    failures := failures + 1;
                    report "cycle " & integer'image(cycle) & ": wrong answer" severity warning;
                end if;
            end if;
            clk <= '0';
            wait for 1 ns;
            cycle := cycle + 1;
        end loop;
        if failures = 0 then
            report "PASS: " & integer'image(answers) & " answers in " & integer'image(cycle)
                & " cycles";
        else
            report "FAIL: " & integer'image(failures) & " failures in " & integer'image(cycle)
                & " cycles" severity failure;
        end if;
        wait;
    end process;
end architecture;
"""
