"""What a learner's function returned, in a form that can be judged in another process: lists, dicts, NumPy arrays.

`portable` makes it, `pack` and `unpack` turn it into bytes and back. The bytes are JSON and plain .npy arrays, never a
pickle: a pickle would run the learner's code again in the process that judges it.
"""

import io
import json
from dataclasses import dataclass

import numpy as np

from .results import ERROR, Wrong

LARGEST = 2**28  # bytes: of one answer
TOO_LARGE = f"the answer is larger than {LARGEST // 2**20} MB"


@dataclass(frozen=True)
class Foreign:
    """Stands for a value that is no array, list, dict, number or text: all that is known of it is its type's name."""

    type_name: str


def portable(value, dtypes=None):
    """Lists, dicts, NumPy arrays, numbers, texts, None and `Foreign`. Adds the arrays' dtypes to the set `dtypes`."""
    if value is None or isinstance(value, (bool, int, float, str)) and not hasattr(value, "dtype"):
        return value
    if isinstance(value, (list, tuple, set, frozenset)):
        return [portable(part, dtypes) for part in value]
    if hasattr(value, "keys") and hasattr(value, "__getitem__"):  # also the outputs of transformers
        return {str(key): portable(value[key], dtypes) for key in value.keys()}
    array, dtype = as_numpy(value)
    if array is None:
        return Foreign(type(value).__name__)
    if array.nbytes > LARGEST:
        raise Wrong(ERROR, TOO_LARGE)
    if dtypes is not None:
        dtypes.add(dtype)
    return array


def as_numpy(value):
    """(array, its dtype's name) of a tensor of any library, on any device; (None, "") for anything else."""
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
            dtype = str(value.dtype).removeprefix("torch.")
            if value.is_sparse:
                value = value.to_dense()
            return (value.float() if dtype == "bfloat16" else value).numpy(), dtype  # NumPy has no bfloat16
        if not hasattr(value, "__array__"):
            return None, ""
        array = np.asarray(value)
        return (None, "") if array.dtype.hasobject else (array, array.dtype.name)
    except (TypeError, ValueError, RuntimeError, NotImplementedError):
        return None, ""


def pack(value):
    """Bytes: the length of the JSON part, the JSON, and the arrays one after the other."""
    arrays = io.BytesIO()
    text = json.dumps(tagged(value, arrays)).encode()
    if len(text) + arrays.tell() > LARGEST:
        raise ValueError(TOO_LARGE)
    return len(text).to_bytes(8, "big") + text + arrays.getvalue()


def tagged(value, arrays):
    """JSON for a portable value; its arrays are written to the stream `arrays`, in order."""
    if isinstance(value, np.ndarray):
        np.lib.format.write_array(arrays, np.asarray(value, order="C"), allow_pickle=False)
        return ["array"]
    if isinstance(value, Foreign):
        return ["foreign", value.type_name]
    if isinstance(value, (list, tuple)):
        return ["list", *(tagged(part, arrays) for part in value)]
    if isinstance(value, dict):
        return ["dict", *([key, tagged(part, arrays)] for key, part in value.items())]
    return value


def unpack(data):
    """The portable value in the bytes. ValueError where they are no such thing."""
    length = int.from_bytes(data[:8], "big")
    arrays = io.BytesIO(data[8 + length :])
    return untagged(json.loads(data[8 : 8 + length]), arrays)


def untagged(value, arrays):
    if not isinstance(value, list):
        return value
    tag, *rest = value
    if tag == "array":
        return np.lib.format.read_array(arrays, allow_pickle=False)
    if tag == "foreign":
        return Foreign(str(rest[0]))
    if tag == "dict":
        return {key: untagged(part, arrays) for key, part in rest}
    return [untagged(part, arrays) for part in rest]


def send(stream, data):
    """Write bytes with their length in front of them."""
    stream.write(len(data).to_bytes(8, "big") + data)
    stream.flush()


def receive(stream):
    """The bytes that `send` wrote. EOFError at the end of the stream, ValueError for more than anyone should send."""
    length = int.from_bytes(exactly(stream, 8), "big")
    if length > 2 * LARGEST:
        raise ValueError(f"{length} bytes announced")
    return exactly(stream, length)


def exactly(stream, count):
    data = stream.read(count)
    if data is None or len(data) < count:
        raise EOFError
    return data
