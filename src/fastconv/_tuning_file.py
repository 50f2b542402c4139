"""Files of tuning: JSON, an outcome a line, with the name and the version of this format.

Every outcome is checked as the arguments of a call are, so that a file that was read can be used as it stands.
"""

from typing import NamedTuple

from ._algorithms import TIMED, choose
from ._algorithms._outcomes import Key
from ._arrays import FLOAT32, FLOAT64, Types, as_shape
from ._errors import integer, number, one_of
from ._files import reading
from ._geometry import Arguments, Convolution
from ._isa import LEVELS

FORMAT = {"format": "fastconv tuning", "version": "1"}
TYPES = {dtype.name: Types(dtype, dtype) for dtype in (FLOAT32, FLOAT64)}


class Record(NamedTuple):
    """What a file says of a convolution."""

    algorithm: str
    seconds: dict
    threads: int


def read(path):
    """`Key` → `Record`, of a file that `write` has filled."""
    import json  # not before it is needed

    with reading(path):
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        labels = content if isinstance(content, dict) else {}
        for label, wanted in FORMAT.items():
            if label not in labels:
                raise ValueError(f"it has no {label}; wanted {wanted!r}, as tune writes it")
            if labels[label] != wanted:
                raise ValueError(f"its {label} is {labels[label]!r}; wanted {wanted!r}")
        outcomes = _entries("it", content, (*FORMAT, "outcomes"))["outcomes"]
        if not isinstance(outcomes, list):
            raise ValueError(f"its outcomes are a {type(outcomes).__name__}; wanted a list")
        known = {}
        for at, outcome in enumerate(outcomes):
            try:
                key, record = _parsed(outcome)
            except (TypeError, ValueError) as error:
                raise ValueError(f"its outcome {at}: {error}") from error
            if key in known:
                raise ValueError(f"its outcome {at} is of a convolution that an earlier one is of")
            known[key] = record
        return known


def write(file, known):
    """Fill a binary file with what `read` returns."""
    import json

    lines = [json.dumps({"convolution": key._asdict(), **record._asdict()}) for key, record in known.items()]
    head = json.dumps(FORMAT).removesuffix("}")
    file.write((head + ', "outcomes": [\n' + ",\n".join(lines) + "\n]}\n").encode())


def _parsed(outcome):
    """Key and record of one outcome, or an error that says what is wrong with it."""
    outcome = _entries("it", outcome, ("convolution", *Record._fields))
    convolution = _entries("its convolution", outcome.pop("convolution"), Key._fields)
    key = Key(**{name: _tuples(value) for name, value in convolution.items()})
    record = Record(**outcome)
    one_of("algorithm", record.algorithm, TIMED)
    if not isinstance(record.seconds, dict):
        raise TypeError(f"seconds={record.seconds!r} is a {type(record.seconds).__name__}; wanted names and numbers")
    for name, taken in record.seconds.items():
        one_of("seconds", name, TIMED)
        number(f"seconds[{name!r}]", taken, 0)
    integer("threads", record.threads, 1)
    one_of("isa", key.isa, {level.name: level for level in LEVELS})
    geometry = _geometry(key, record.algorithm)
    if Key.of(geometry)._replace(isa=key.isa) != key:
        raise ValueError(f"its convolution is {key}; wanted {Key.of(geometry)}")
    choose(geometry)  # it raises where the algorithm declines
    return key, record


def _geometry(key, algorithm):
    """The `Geometry` that a key is of."""
    arguments = Arguments(
        stride=key.stride,
        padding=key.padding,
        dilation=key.dilation,
        groups=key.groups,
        padding_mode=key.padding_mode,
        padding_value=0.0,
        flip_kernel=False,
        activation=None,
        data_format=key.data_format,
        precision=key.precision,
        algorithm=algorithm,
    )
    weight_shape = as_shape("weight_shape", key.weight_shape)
    convolution = Convolution.parse(None, weight_shape, None, one_of("dtype", key.dtype, TYPES), arguments)
    images, size = integer("images", key.images, 1), as_shape("size", key.size)
    return convolution.at(convolution.join((images,), convolution.in_channels, size))


def _entries(what, value, names):
    """`value`, if it is a dictionary of these names."""
    if not isinstance(value, dict):
        raise TypeError(f"{what} is a {type(value).__name__}; wanted an object with {', '.join(names)}")
    if set(value) != set(names):
        raise ValueError(f"{what} has {', '.join(value) or 'nothing'}; wanted {', '.join(names)}")
    return value


def _tuples(value):
    """Lists as tuples, which can be keys."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
