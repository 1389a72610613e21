"""How an answer crosses from the process that may be hostile to the one that judges: as data, never as code."""

import base64
import json
import socket
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch

LONGEST = 8 * 2**20  # bytes of one message; the judge holds several times as much while it reads one
_KINDS = "biuf"  # bool, integers, floats: the arrays that hold plain numbers
_PLAIN = (type(None), bool, int, float, str)
_LISTS = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


class Channel:
    """Whole messages over a socket.

    Parameters
    ----------
    end : socket.socket
        One end of a connected pair.
    """

    def __init__(self, end: socket.socket) -> None:
        self.end = end

    def send(self, message: dict[str, Any]) -> None:
        """Send one message."""
        body = json.dumps(message).encode()
        self.end.sendall(len(body).to_bytes(8, "big") + body)

    def receive(self) -> dict[str, Any]:
        """Wait for one message.

        Returns
        -------
        dict[str, Any]

        Raises
        ------
        EOFError
            If the other side has gone.
        ValueError
            If what came is too long or not a message.
        """
        size = int.from_bytes(self._exactly(8), "big")
        if size > LONGEST:
            raise ValueError(f"an answer of {size} bytes; {LONGEST} is the most")
        message = json.loads(self._exactly(size))
        if not isinstance(message, dict):
            raise ValueError("not a message")
        return message

    def _exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = self.end.recv(min(size - len(parts), 2**20))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)


def encode(value: Any, functions: list[Callable]) -> Any:
    """Turn a value into what JSON can say.

    Parameters
    ----------
    value : Any
        Plain values, lists, tuples, sets, dicts, tensors, arrays, tables, and functions.
    functions : list[Callable]
        Grows by each function met: the other side calls it by its place here.

    Returns
    -------
    Any

    Raises
    ------
    TypeError
        If a part of the value is none of these.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if type(value) in _PLAIN:
        return value
    for name, kind in _LISTS.items():
        if type(value) is kind:
            return {"is": name, "items": [encode(item, functions) for item in value]}
    if isinstance(value, dict):
        return {"is": "dict", "items": [[encode(k, functions), encode(v, functions)] for k, v in value.items()]}
    if isinstance(value, pd.DataFrame):
        columns = [[encode(name, functions), encode(value[name].tolist(), functions)] for name in value.columns]
        return {"is": "table", "columns": columns, "index": encode(value.index.tolist(), functions)}
    if isinstance(value, torch.Tensor | np.ndarray | pd.Series | pd.Index):
        return _sequence(value, functions)
    if callable(value):
        functions.append(value)
        return {"is": "function", "number": len(functions) - 1}
    raise TypeError(f"an answer cannot hold a {type(value).__name__}")


def _sequence(value: Any, functions: list[Callable]) -> dict[str, Any]:
    if isinstance(value, torch.Tensor):
        tensor = value.detach().cpu()
        return {"is": "tensor", **_numbers((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy())}
    if isinstance(value, np.ndarray) and value.dtype.kind in _KINDS:
        return {"is": "array", **_numbers(value)}
    return {"is": "list", "items": [encode(item, functions) for item in value.tolist()]}


def decode(message: Any, call: Callable[[int], Callable]) -> Any:
    """Reverse :func:`encode`; whatever the message says, no code of the other side runs here.

    Parameters
    ----------
    message : Any
        What the other side sent.
    call : Callable
        Makes what stands for function number n.

    Returns
    -------
    Any

    Raises
    ------
    ValueError
        If the message is not one that :func:`encode` makes.
    """
    if not isinstance(message, dict):
        if isinstance(message, list):
            raise ValueError("not a message")
        return message
    kind = message.get("is")
    if kind in _LISTS:
        return _LISTS[kind](decode(item, call) for item in message["items"])
    if kind == "dict":
        return {decode(k, call): decode(v, call) for k, v in message["items"]}
    if kind == "array":
        return _array(message)
    if kind == "tensor":
        return torch.from_numpy(_array(message))
    if kind == "table":
        columns = {decode(name, call): decode(values, call) for name, values in message["columns"]}
        return pd.DataFrame(columns, index=decode(message["index"], call))
    if kind == "function":
        return call(int(message["number"]))
    raise ValueError("not a message")


def _numbers(array: np.ndarray) -> dict[str, Any]:
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"dtype": array.dtype.str, "shape": list(array.shape), "data": data}


def _array(message: dict[str, Any]) -> np.ndarray:
    dtype = np.dtype(str(message["dtype"]))
    if dtype.kind not in _KINDS:
        raise ValueError(f"an array of {dtype}")
    return np.frombuffer(base64.b64decode(message["data"]), dtype).reshape([int(n) for n in message["shape"]]).copy()
