"""ONNX files mutated at random: each must give a design or a clear error, soon, in little memory.

    python -m benchmarks.hostile FILE.onnx ... --files 3000 [--seed 0] [--action compile]

Mutations are of bytes (flips, cuts, insertions) and of the message (numbers, names, sizes, types,
fields removed, repeated or taken from elsewhere). The exit code is 1 if a file ends in anything but
a design or a samebits error, takes too long, or too much memory; such files stay in OUTPUT.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

__all__ = ["damaged", "is_good", "mutated", "mutated_but_valid", "opened"]

_WHOLE = (0, 1, -1, 2, 7, 16, 127, 10**6, 10**9, 2**31 - 1, 2**31, -(2**31), 2**62, 2**63 - 1)
_REAL = (0.0, -1.0, 0.5, 1000.0, 1e30, 1e-40, float("nan"), float("inf"), float("-inf"), 65.0)
_WORDS = ("", "x", "../../../etc/passwd", "/etc/passwd", "a\0b", "\u20ac" * 50, "n" * 20000)
_OPERATORS = (
    *(
        "ConstantOfShape",
        "Expand",
        "Tile",
        "Pad",
        "Resize",
        "Range",
        "Loop",
        "If",
        "Scan",
        "Gather",
    ),
    *("Reshape", "Transpose", "MatMul", "Gemm", "Add", "Quant", "Conv", "Softmax", "Identity"),
)


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """The content of any file with one to three mutations of its bytes."""
    for _ in range(rng.choice([1, 1, 2, 3])):
        data = _bytes(data, rng)
    return data


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """The content of a file with one to three mutations."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        data = (_bytes if rng.random() < 0.1 else _message)(data, rng)
    return data


def mutated_but_valid(data: bytes, rng: np.random.Generator) -> bytes:
    """One to four mutations of the message, each of which ONNX's checker accepts."""
    for _ in range(rng.integers(1, 5)):
        for _ in range(20):
            changed = _message(data, rng)
            try:
                onnx.checker.check_model(changed)
            except Exception:  # ValidationError, DecodeError, UnicodeDecodeError, ...
                continue
            data = changed
            break
    return data


def _bytes(data: bytes, rng: np.random.Generator) -> bytes:
    if not data:
        return b"\x08\x07"
    held = bytearray(data)
    a, b = sorted(int(i) for i in rng.integers(0, len(held) + 1, 2))
    match rng.integers(5):
        case 0:
            held[a % len(held)] ^= 1 << int(rng.integers(8))
        case 1:
            del held[b:]
        case 2:
            held[a:a] = rng.bytes(int(rng.integers(1, 9)))
        case 3:
            held[a:a] = held[a:b]
        case _:
            held[a : a + 8] = rng.bytes(8)
    return bytes(held)


def _message(data: bytes, rng: np.random.Generator) -> bytes:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
        places = list(_fields(model))
        if not places:
            return _bytes(data, rng)
        message, field, value = places[int(rng.integers(len(places)))]
        _change(model, message, field, value, places, rng)
        return bytes(model.SerializeToString())
    except Exception:  # bytes that are no message, strings that are no text
        return _bytes(data, rng)


def _fields(message: Any) -> Iterator[tuple[Any, Any, Any]]:
    """(message, field, value) of everything that is set."""
    for field, value in message.ListFields():
        yield message, field, value
        if field.message_type is None:
            continue
        for inner in value if _repeated(field) else [value]:
            yield from _fields(inner)


def _repeated(field: Any) -> bool:
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == 3)


def _change(
    model: Any, message: Any, field: Any, value: Any, places: Any, rng: np.random.Generator
) -> None:
    if rng.random() < 0.1:
        message.ClearField(field.name)
    elif _repeated(field):
        position = int(rng.integers(len(value)))
        match rng.integers(4):
            case 0:
                del value[position]
            case 1 if field.message_type is None:
                value.append(value[position])
            case 1:
                value.add().CopyFrom(value[position])
            case 2 if field.message_type is not None:
                value[position].CopyFrom(_other(field, places, rng))
            case _ if field.message_type is None:
                value[position] = _scalar(field, value[position], places, rng)
            case _:
                value.add().CopyFrom(_other(field, places, rng))
    elif field.message_type is not None:
        value.CopyFrom(_other(field, places, rng))
    else:
        setattr(message, field.name, _scalar(field, value, places, rng))


def _other(field: Any, places: Any, rng: np.random.Generator) -> Any:
    """A message of the same type from anywhere in the model."""
    same = []
    for _, other, value in places:
        if other.message_type is field.message_type:
            same.extend(value if _repeated(other) else [value])
    fresh = type(same[0])()
    fresh.CopyFrom(same[int(rng.integers(len(same)))])
    return fresh


def _scalar(field: Any, value: Any, places: Any, rng: np.random.Generator) -> Any:
    if isinstance(value, bytes):
        pick = rng.random()
        if pick < 0.6 and len(value) % 4 == 0 and value:
            numbers = np.frombuffer(value, np.float32).copy()
            numbers[rng.integers(len(numbers))] = _REAL[int(rng.integers(len(_REAL)))]
            return numbers.tobytes()
        return value[: len(value) // 2] if pick < 0.8 else value * 2
    if isinstance(value, str):
        if field.name == "op_type":
            return _OPERATORS[int(rng.integers(len(_OPERATORS)))]
        texts = [v for _, f, v in places if isinstance(v, str)]
        for _, other, many in places:
            if _repeated(other) and other.message_type is None:
                texts.extend(item for item in many if isinstance(item, str))
        texts.extend(_WORDS)
        return texts[int(rng.integers(len(texts)))]
    if isinstance(value, float):
        return _REAL[int(rng.integers(len(_REAL)))]
    small = field.type == field.TYPE_INT32 or field.enum_type is not None
    wanted = _WHOLE[int(rng.integers(len(_WHOLE)))]
    wanted = int(rng.integers(0, 30)) if rng.random() < 0.3 else wanted
    return max(-(2**31), min(wanted, 2**31 - 1)) if small else wanted


def opened(
    paths: Sequence[Path],
    action: str,
    seconds: float,
    megabytes: int,
    build: Path = Path(),
) -> list[dict[str, Any]]:
    """How opening each file ends, see `hostile_worker.py`."""
    worker = Path(__file__).with_name("hostile_worker.py")
    command = [sys.executable, "-P", str(worker), action, str(seconds), str(megabytes), str(build)]
    done = subprocess.run(
        command,
        input="".join(f"{path}\n" for path in paths),
        capture_output=True,
        text=True,
        timeout=60 + len(paths) * (seconds + 1),
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def is_good(found: dict[str, Any]) -> bool:
    """True for a design or a samebits error, with one line that says what is wrong."""
    if found["kind"] == "good":
        return True
    return bool(found["kind"].isidentifier() and found["kind"].endswith("Error"))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path, help="valid ONNX files")
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--action", default="compile")
    parser.add_argument("--valid", action="store_true", help="only what ONNX's checker accepts")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--megabytes", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=Path("build/hostile"))
    options = parser.parse_args(arguments)
    seeds = [path.read_bytes() for path in options.models]
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        paths = []
        for number in range(options.files):
            rng = np.random.default_rng(options.seed + number)
            path = Path(folder) / f"{options.seed + number}.onnx"
            change = mutated_but_valid if options.valid else mutated
            path.write_bytes(change(seeds[number % len(seeds)], rng))
            paths.append(path)
        results = opened(paths, options.action, options.seconds, options.megabytes)
        bad = [found for found in results if not is_good(found)]
        options.output.mkdir(parents=True, exist_ok=True)
        for found in bad:
            content = (Path(folder) / found["file"]).read_bytes()
            (options.output / found["file"]).write_bytes(content)
            print(json.dumps(found), flush=True)
    for kind, count in Counter(found["kind"] for found in results).most_common():
        print(f"{count:6} {kind}")
    print(f"longest {max(found['seconds'] for found in results)} s, ", end="")
    print(f"largest {max(found['megabytes'] for found in results)} MB, {len(bad)} bad")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
