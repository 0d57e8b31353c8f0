"""One description of a network and its training as a file: TOML in, checked objects out.

    [network]
    inputs = [16]
    layers = ["standardise", {dense = 32}, "relu", {dense = {units = 5, name = "out"}}, "softmax"]

    [fit]
    epochs = 20

A layer is its class's name in small letters (`max_pool` is `MaxPool`) or a function's: alone, with
its first number, or with all that it takes. The other sections are those of `Description`.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Self, get_args

import numpy.typing as npt
import pydantic

from samebits import errors

from .anomaly import AnomalyTrigger, Score, train_anomaly_trigger
from .augmentation import Flip, InTurn, Reflect, RotatePhi, RotatePhiPair
from .bench import Trained, fine_tune, gentler, train_network
from .build import BUILDERS
from .config import FitOptions, fit_options
from .layers import Activation, Function, Layer
from .network import Initializer, Network
from .optimize import Augment, Curve, Pass, Samples

__all__ = ["Anomaly", "Data", "Description", "Quantized", "describe", "read_description"]

FUNCTIONS: tuple[str, ...] = get_args(Function)
KINDS: dict[str, type[Layer]] = {
    re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower(): kind
    for kind in BUILDERS
    if kind is not Activation
}


class Section(pydantic.BaseModel):
    """A section of the file: no other keys, never changed."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class NetworkSection(Section):
    """The numbers of `Network`, with layers as the file writes them."""

    inputs: tuple[int, ...]
    layers: tuple[Any, ...]
    l1: float = 0.0
    l2: float = 0.0
    initializer: Initializer = "glorot_uniform"

    @pydantic.field_validator("layers")
    @classmethod
    def _known(cls, value: tuple[Any, ...]) -> tuple[Layer, ...]:
        found, wrong = [], []
        for number, entry in enumerate(value, start=1):
            try:
                found.append(_layer(entry))
            except ValueError as error:
                wrong += [f"layer {number}: {text}" for text in str(error).splitlines()]
        if wrong:
            raise ValueError("\n".join(wrong))
        return tuple(found)

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        self.network()
        return self

    def network(self) -> Network:
        """The description as an object."""
        try:
            return Network(self.inputs, self.layers, self.l1, self.l2, self.initializer)
        except errors.UsageError as error:
            raise ValueError("\n".join(str(error).replace("  ", "").splitlines()[1:])) from None


class Quantized(Section):
    """How the network is quantized; `formats` are those of single points, `distil` and `whiten` as
    in `train_network`."""

    weight_bits: int = pydantic.Field(default=6, ge=2, le=16)
    activation_bits: int = pydantic.Field(default=6, ge=2, le=16)
    pruning: float = pydantic.Field(default=0.0, ge=0, le=0.99)
    formats: dict[str, str] = {}
    distil: bool = False
    whiten: bool = False


class Data(Section):
    """The events: `features` by name, all by default; `label` of classes, or `targets` of numbers.

    `file` is "jets" or a path, from the folder of the description. `class_names` are for files that
    have none, in the order of the class numbers.
    """

    file: str = ""
    features: tuple[str, ...] | None = pydantic.Field(default=None, min_length=1)
    label: str = "label"
    targets: tuple[str, ...] = ()
    tree: str | None = None
    class_names: tuple[str, ...] = ()


class Augmentation(Section):
    """What is done to the training part anew in every epoch, by numbers of axes and columns.

    The functions are those of `samebits.train.augmentation`, in this order.
    """

    flip: tuple[int, ...] = ()
    reflect: tuple[int, ...] = ()
    rotate_phi: tuple[int, ...] = ()
    rotate_phi_pair: tuple[int, int] | None = None

    def function(self) -> Augment | None:
        """All of it as one function; None if there is nothing."""
        steps: list[Augment] = [Flip(axis) for axis in self.flip]
        steps += [Reflect(column) for column in self.reflect]
        steps += [RotatePhi(column) for column in self.rotate_phi]
        if self.rotate_phi_pair is not None:
            steps.append(RotatePhiPair(*self.rotate_phi_pair))
        return InTurn(tuple(steps)) if steps else None


class Anomaly(Section):
    """The network is an autoencoder, and the firmware computes this score of it."""

    score: Score = "reconstruction"
    latent: str = ""
    weights: float | tuple[float, ...] = 1.0


class Description(Section):
    """A network, how it is fitted and quantized, and on which events.

    `fine_tuning` holds what the fit of the quantized network does otherwise than `fit`.
    """

    network: NetworkSection
    fit: FitOptions = pydantic.Field(default_factory=fit_options)
    fine_tuning: dict[str, Any] | None = None
    quantized: Quantized = Quantized()
    data: Data = Data()
    augmentation: Augmentation = Augmentation()
    anomaly: Anomaly | None = None

    @pydantic.model_validator(mode="after")
    def _fine(self) -> Self:
        if self.anomaly and self.fit.loss != "mean_squared_error":
            raise ValueError("fit.loss: an autoencoder is trained with mean_squared_error")
        if self.anomaly and (self.quantized.distil or self.quantized.whiten):
            raise ValueError("quantized: an autoencoder takes neither distil nor whiten")
        if self.anomaly and self.augmentation.function():
            raise ValueError("augmentation: an autoencoder takes none")
        if self.data.class_names and (self.anomaly or self.data.targets):
            of = "an autoencoder has no classes" if self.anomaly else "data.targets are numbers"
            raise ValueError(f"data.class_names: {of}; leave them out")
        try:
            self.fine_options()
        except pydantic.ValidationError as error:
            raise ValueError(
                "\n".join(f"fine_tuning.{line}" for line in _complaints(error, FitOptions))
            ) from None
        return self

    def fine_options(self) -> FitOptions | None:
        """The options of the quantized network's fit, None for the usual ones."""
        if self.fine_tuning is None:
            return None
        return FitOptions(**{**self.fit.model_dump(), **self.fine_tuning})

    def train(
        self,
        train: Samples,
        validation: Samples,
        *,
        augment: Augment | None = None,
        on_pass: Callable[[str, Pass], None] | None = None,
    ) -> Trained:
        """The network fitted to these samples, in float and quantized, by `train_network`.

        Raises:
            UsageError: it is an autoencoder for an anomaly trigger.
            DataError, UsageError: as `train_network`.
        """
        if self.anomaly is not None:
            raise errors.UsageError("description: it has a section anomaly; call train_trigger")
        return train_network(
            self.network.network(),
            train,
            validation,
            self.fit,
            fine_tuning=self.fine_options(),
            augment=augment or self.augmentation.function(),
            on_pass=on_pass,
            **self.quantized.model_dump(),
        )

    def train_again(
        self, model: Any, train: Samples, validation: Samples, teacher: Any = None
    ) -> Curve:
        """Trains a quantized network of this description once more, from the weights that it has.

        As the second stage of `train` does, without checkpoints and logs; `teacher` is the float
        network, which only a distillation asks.
        """
        options = self.fine_options() or gentler(self.fit)
        return fine_tune(
            model,
            train,
            validation,
            options.model_copy(update={"checkpoints": None, "tensorboard": None}),
            pruning=self.quantized.pruning,
            teacher=teacher if self.quantized.distil else None,
            augment=self.augmentation.function(),
        )

    def train_trigger(
        self,
        train: npt.ArrayLike,
        validation: npt.ArrayLike,
        *,
        on_pass: Callable[[str, Pass], None] | None = None,
    ) -> AnomalyTrigger:
        """The autoencoder fitted to these events, and its score, by `train_anomaly_trigger`.

        Raises:
            UsageError: the description has no section anomaly.
            DataError, UsageError: as `train_anomaly_trigger`.
        """
        if self.anomaly is None:
            raise errors.UsageError("description: it has no section anomaly; call train")
        return train_anomaly_trigger(
            self.network.network(),
            train,
            validation,
            self.fit,
            fine_tuning=self.fine_options(),
            on_pass=on_pass,
            **self.anomaly.model_dump(),
            **self.quantized.model_dump(exclude={"distil", "whiten"}),
        )


def read_description(
    path: str | Path, changes: Mapping[str, Mapping[str, Any]] | None = None
) -> Description:
    """The description in a TOML file, with `changes` in place of the file's options, by section.

    Raises:
        UsageError: no such file, no TOML; or everything that is wrong in it, line by line.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise errors.UsageError(f"{path}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise errors.UsageError(f"{path}: is not TOML: {error}") from error
    for section, options in (changes or {}).items():
        if isinstance(content.setdefault(section, {}), dict):
            content[section] |= options
    try:
        return Description(**content)
    except pydantic.ValidationError as error:
        lines = _complaints(error, Description)
        raise errors.UsageError(f"{path}:\n  " + "\n  ".join(lines)) from None


def describe(network: Network) -> dict[str, Any]:
    """The section `network` of a file that describes this network, as Python's numbers and lists.

    >>> describe(Network((2,), (Dense(4), "relu")))["layers"]
    [{'dense': {'units': 4}}, 'relu']
    """
    layers: list[Any] = []
    for layer in network.layers:
        assert isinstance(layer, Layer)
        kind = next((name for name, known in KINDS.items() if known is type(layer)), "")
        given = {
            part.name: _plain(getattr(layer, part.name))
            for part in fields(layer)
            if getattr(layer, part.name) != part.default
        }
        if isinstance(layer, Activation):
            kind = given.pop("function")
        layers.append({kind: given} if given else kind)
    numbers = {key: getattr(network, key) for key in ("l1", "l2", "initializer")}
    return {"inputs": list(network.inputs), "layers": layers, **numbers}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _layer(entry: Any) -> Layer:
    """The layer that an entry describes; raises ValueError with all complaints, line by line."""
    if isinstance(entry, Layer):
        return entry
    name, given = entry, None
    kind: type[Layer]
    numbers: dict[str, Any] = {}
    if isinstance(entry, Mapping) and len(entry) == 1:
        ((name, given),) = entry.items()
    if not isinstance(name, str):
        raise ValueError(f'got {entry!r}; wanted "relu", {{dense = 32}} or {{dense = {{...}}}}')
    if name in FUNCTIONS:
        kind, numbers = Activation, {"function": name}
    elif name in KINDS:
        kind = KINDS[name]
    else:
        known = sorted([*KINDS, *FUNCTIONS])
        near = [one for one in known if name in one] or difflib.get_close_matches(name, known, 1)
        meant = f"{' or '.join(near)} is the nearest; " if near else ""
        raise ValueError(f"there is no layer {name!r}; {meant}there are {', '.join(known)}")
    names = [part.name for part in fields(kind) if part.name not in numbers]
    # the name comes first in the base class, and is never given alone
    names = [*(n for n in names if n != "name"), "name"]
    if isinstance(given, Mapping):
        numbers |= given
    elif given is not None:
        numbers[names[0]] = given
    lines = [
        f"{name} takes no {part!r}; it takes {', '.join(names)}"
        for part in (given if isinstance(given, Mapping) else ())
        if part not in names
    ]
    try:
        made: Layer = pydantic.TypeAdapter(kind).validate_python(numbers)
    except pydantic.ValidationError as error:
        for detail in error.errors():
            part = ".".join(str(place) for place in detail["loc"])
            if detail["type"].startswith("missing"):
                lines.append(f"{name} needs {part!r}")
            else:
                lines.append(f"{name}: {part}: got {detail['input']!r}; {detail['msg']}")
    if lines:
        raise ValueError("\n".join(lines))
    return made


def _complaints(error: pydantic.ValidationError, kind: type[pydantic.BaseModel]) -> list[str]:
    """One line for everything that is wrong."""
    lines = []
    for detail in error.errors():
        place = ".".join(str(part) for part in detail["loc"])
        if detail["type"] == "extra_forbidden":
            known = ", ".join(_keys(kind, detail["loc"][:-1]))
            lines.append(f"{place}: there is no such key; there are {known}")
        elif detail["type"] == "missing":
            lines.append(f"{place}: is missing")
        elif detail["type"] == "value_error":
            message = str(detail["msg"]).removeprefix("Value error, ")
            lines += [f"{place}: {line}" if place else line for line in message.splitlines()]
        else:
            lines.append(f"{place}: got {detail['input']!r}; {detail['msg']}")
    return lines


def _keys(kind: Any, place: tuple[str | int, ...]) -> list[str]:
    """The keys of the section at a place."""
    for part in place:
        annotation = kind.model_fields[part].annotation
        choices = [annotation, *get_args(annotation)]
        kind = next(c for c in choices if isinstance(c, type) and issubclass(c, pydantic.BaseModel))
    return list(kind.model_fields)
