"""The text of the RTL's top module, its constraints and its README."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from samebits import errors
from samebits.compile.ir import Format, Tensor

__all__ = ["Piece", "Port", "constraints", "from_pipeline", "identifiers", "to_pipeline", "top"]

_LONGEST_NAME = 40
_SUFFIXES = {"verilog": "v", "vhdl": "vhd"}


@dataclass(frozen=True, slots=True)
class Port:
    """A tensor at the border: element i, counted in C order, has bits [i*w + w-1 : i*w].

    `port` is its name in the RTL, `name` the user's, w the format's width.
    """

    port: str
    name: str
    shape: tuple[int, ...]
    format: Format

    @property
    def elements(self) -> int:
        """How many numbers."""
        size = 1
        for n in self.shape:
            size *= n
        return size

    @property
    def bits(self) -> int:
        """Width of the port."""
        return self.elements * self.format.width

    @classmethod
    def of(cls, port: str, name: str, tensor: Tensor) -> Port:
        """The port of a graph's tensor."""
        return cls(port, name, tensor.shape, tensor.format)


@dataclass(frozen=True, slots=True)
class Piece:
    """`target[high:low]` is driven by as many bits of `source` from bit `first` on.

    Without `source` by the binary digits `bits`; with `repeat` by copies of the one bit.
    """

    target: str
    high: int
    low: int
    source: str = ""
    first: int = 0
    repeat: bool = False
    bits: str = ""

    @property
    def count(self) -> int:
        """Number of bits."""
        return self.high - self.low + 1


def identifiers(names: Iterable[str], prefix: str, taken: Iterable[str] = ()) -> list[str]:
    """Names for Verilog and VHDL: ASCII, with a prefix, none twice in upper or lower case.

    >>> identifiers(["a; rm -rf", "Ünïcode", "valid", ""], "in_", ["in_valid"])
    ['in_a_rm_rf', 'in_Unicode', 'in_valid_2', 'in_x']
    """
    used, found = {name.lower() for name in taken}, []
    for text in names:
        plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
        stem = "_".join(re.findall("[A-Za-z0-9]+", plain))[:_LONGEST_NAME].strip("_") or "x"
        name, count = f"{prefix}{stem}", 1
        while name.lower() in used:
            count += 1
            name = f"{prefix}{stem}_{count}"
        used.add(name.lower())
        found.append(name)
    return found


def to_pipeline(ports: Sequence[Port], precisions: Sequence[Any], target: str) -> list[Piece]:
    """alkaid's packed input, element by element, from the ports.

    Raises:
        UnsupportedError: alkaid's logic takes bits that an input does not have.
    """
    pieces, start, formats = [], 0, _elements(ports)
    for (port, low), precision in zip(formats, precisions, strict=True):
        signed, integer, fraction = precision
        width = int(signed) + integer + fraction
        first = port.format.fraction - fraction
        if width and not 0 <= first <= first + width <= port.format.width:
            raise errors.UnsupportedError(
                f"alkaid: input {port.name} ({port.format}): its logic takes bits {first} to "
                f"{first + width - 1}, which the format does not have"
            )
        if width:
            pieces.append(Piece(target, start + width - 1, start, port.port, low + first))
        start += width
    return _merged(pieces)


def from_pipeline(
    ports: Sequence[Port],
    precisions: Sequence[Any] | None,
    constants: Mapping[int, Fraction],
    source: str,
) -> list[Piece]:
    """The ports, from alkaid's packed output and known numbers by position among all elements.

    Raises:
        UnsupportedError: alkaid's logic has more fraction bits than an output.
    """
    pieces, start = [], 0
    for position, (port, low) in enumerate(_elements(ports)):
        fmt = port.format
        signed, integer, fraction = precisions[position] if precisions else (False, 0, 0)
        width = int(signed) + integer + fraction
        if position in constants:
            mantissa = int(constants[position] * Fraction(2) ** fmt.fraction)
            digits = f"{mantissa % 2**fmt.width:0{fmt.width}b}"
            pieces.append(Piece(port.port, low + fmt.width - 1, low, bits=digits))
        else:
            if fraction > fmt.fraction:
                raise errors.UnsupportedError(
                    f"alkaid: output {port.name} ({fmt}): its logic has {fraction} fraction bits"
                )
            pieces += _extended(port.port, low, fmt, (bool(signed), width, fraction), source, start)
        start += width
    return _merged(pieces)


def _extended(
    target: str, low: int, fmt: Format, got: tuple[bool, int, int], source: str, start: int
) -> Iterator[Piece]:
    """One element: zeros below its last bit, copies of the sign or zeros above its first."""
    signed, width, fraction = got
    below = min(fmt.fraction - fraction, fmt.width) if width else fmt.width
    if below:
        yield Piece(target, low + below - 1, low, bits="0" * below)
    kept = min(width, fmt.width - below)
    if kept:
        yield Piece(target, low + below + kept - 1, low + below, source, start)
    above = fmt.width - below - kept
    if above:
        high, first = low + fmt.width - 1, low + below + kept
        if signed:
            yield Piece(target, high, first, source, start + width - 1, repeat=True)
        else:
            yield Piece(target, high, first, bits="0" * above)


def _elements(ports: Sequence[Port]) -> Iterator[tuple[Port, int]]:
    for port in ports:
        for index in range(port.elements):
            yield port, index * port.format.width


def _merged(pieces: Iterable[Piece]) -> list[Piece]:
    """Neighbours that continue each other joined."""
    out: list[Piece] = []
    for piece in pieces:
        last = out[-1] if out else None
        plain = last is not None and not (piece.bits or last.bits or piece.repeat or last.repeat)
        if (
            last is not None
            and plain
            and (piece.target, piece.source) == (last.target, last.source)
            and piece.low == last.high + 1
            and piece.first == last.first + last.count
        ):
            out[-1] = Piece(piece.target, piece.high, last.low, piece.source, last.first)
        else:
            out.append(piece)
    return out


def top(
    language: str,
    name: str,
    ports: tuple[Sequence[Port], Sequence[Port]],
    stages: int,
    pipeline: tuple[str, int, int] | None,
    pieces: Sequence[Piece],
) -> str:
    """The top module: valid bits as long as the pipeline, and the pipeline's bits in order.

    Args:
        ports: inputs and outputs.
        pipeline: name, input and output width of alkaid's module; None: all outputs are constant.
    """
    return (_vhdl if language == "vhdl" else _verilog)(name, ports, stages, pipeline, pieces)


def _verilog(
    name: str,
    ports: tuple[Sequence[Port], Sequence[Port]],
    stages: int,
    pipeline: tuple[str, int, int] | None,
    pieces: Sequence[Piece],
) -> str:
    lines = ["input wire clk", "input wire rst", "input wire in_valid"]
    lines += [f"input wire [{port.bits - 1}:0] {port.port}" for port in ports[0]]
    lines += ["output wire out_valid"]
    lines += [f"output wire [{port.bits - 1}:0] {port.port}" for port in ports[1]]
    body = [
        f"reg [{stages}:0] valid;",
        "always @(posedge clk)",
        f"    if (rst) valid <= {stages + 1}'b0;",
        f"    else valid <= {{valid[{stages - 1}:0], in_valid}};",
        f"assign out_valid = valid[{stages}];",
    ]
    if pipeline:
        module, width_in, width_out = pipeline
        body += [f"wire [{width_in - 1}:0] model_inp;", f"wire [{width_out - 1}:0] model_out;"]
        body += [f"{module} pipeline (.clk(clk), .model_inp(model_inp), .model_out(model_out));"]
    for piece in pieces:
        value = f"{piece.source}[{piece.first + piece.count - 1}:{piece.first}]"
        if piece.repeat:
            value = f"{{{piece.count}{{{piece.source}[{piece.first}]}}}}"
        elif piece.bits:
            value = f"{piece.count}'b{piece.bits}"
        body.append(f"assign {piece.target}[{piece.high}:{piece.low}] = {value};")
    declared, written = ",\n    ".join(lines), "\n    ".join(body)
    return (
        f"`timescale 1 ns / 1 ps\n\nmodule {name} (\n    {declared}\n);\n    {written}\nendmodule\n"
    )


def _vhdl(
    name: str,
    ports: tuple[Sequence[Port], Sequence[Port]],
    stages: int,
    pipeline: tuple[str, int, int] | None,
    pieces: Sequence[Piece],
) -> str:
    def vector(width: int) -> str:
        return f"std_logic_vector({width - 1} downto 0)"

    lines = ["clk : in std_logic", "rst : in std_logic", "in_valid : in std_logic"]
    lines += [f"{port.port} : in {vector(port.bits)}" for port in ports[0]]
    lines += ["out_valid : out std_logic"]
    lines += [f"{port.port} : out {vector(port.bits)}" for port in ports[1]]
    signals = [f"signal valid : {vector(stages + 1)};"]
    body = [
        "process (clk) begin",
        "    if rising_edge(clk) then",
        "        if rst = '1' then valid <= (others => '0');",
        f"        else valid <= valid({stages - 1} downto 0) & in_valid; end if;",
        "    end if;",
        "end process;",
        f"out_valid <= valid({stages});",
    ]
    if pipeline:
        module, width_in, width_out = pipeline
        signals += [f"signal model_inp : {vector(width_in)};"]
        signals += [f"signal model_out : {vector(width_out)};"]
        body += [
            f"pipeline : entity work.{module} port map (",
            "    clk => clk, model_inp => model_inp, model_out => model_out);",
        ]
    for piece in pieces:
        value = f"{piece.source}({piece.first + piece.count - 1} downto {piece.first})"
        if piece.repeat:
            value = f"(others => {piece.source}({piece.first}))"
        elif piece.bits:
            value = f'"{piece.bits}"'
        body.append(f"{piece.target}({piece.high} downto {piece.low}) <= {value};")
    declared, inner = ";\n        ".join(lines), "\n    ".join(signals)
    written = "\n    ".join(body)
    return (
        "library ieee;\nuse ieee.std_logic_1164.all;\n\n"
        f"entity {name} is\n    port (\n        {declared}\n    );\nend entity;\n\n"
        f"architecture rtl of {name} is\n    {inner}\nbegin\n    {written}\nend architecture;\n"
    )


def constraints(ports: tuple[Sequence[Port], Sequence[Port]], clock_ns: float) -> str:
    """The clock, and neighbours that have registers at the border; for Vivado and Quartus."""
    inputs = " ".join(["rst", "in_valid", *(f"{port.port}[*]" for port in ports[0])])
    outputs = " ".join(["out_valid", *(f"{port.port}[*]" for port in ports[1])])
    return (
        f"create_clock -name clk -period {clock_ns:.6g} [get_ports {{clk}}]\n"
        f"set_input_delay -clock clk 0 [get_ports {{{inputs}}}]\n"
        f"set_output_delay -clock clk 0 [get_ports {{{outputs}}}]\n"
    )
