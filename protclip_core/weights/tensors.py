"""Weights files read without running anything in them, and put into modules without a gap.

Safetensors are plain numbers; other files go through `protclip_core.weights.pickled`. Tensor names
and shapes must fit exactly: a missing, a wrong-shaped or a surplus tensor is an error that names
it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from protclip_core.errors import ModelError
from protclip_core.io.json_fields import one_line
from protclip_core.weights.bundle import sha256_of
from protclip_core.weights.file_kinds import describe_content, safetensors_shapes
from protclip_core.weights.names import adapter_not_merged
from protclip_core.weights.pickled import TRUSTED_FORM, load_pickled_tensors, shown

__all__ = [
    "check_tensors",
    "fill_module",
    "load_pickled_tensors",
    "make_filled",
    "read_transformers_weights",
]

_FETCH_AGAIN = "fetch the file again"
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
M = TypeVar("M", bound=nn.Module)


def check_tensors(
    expected: Mapping[str, Sequence[int]],
    tensors: Mapping[str, Tensor],
    where: str,
    prefix: str = "",
) -> None:
    """See that tensors are those that a model needs, all of them and nothing else.

    Parameters
    ----------
    expected
        Name to shape.
    tensors
        Name to value.
    where
        File for the message.
    prefix
        What stands before the names in that file, for the message.

    Raises
    ------
    ModelError
        Missing, surplus or wrong-shaped tensors, with the first three of each and their count,
        or values that are no floating-point numbers of 16 bits or more, or not finite.
    """
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            raise ModelError(
                f"{prefix}{name} is not a tensor",
                code="model.bad_tensor",
                where=where,
                hint=_FETCH_AGAIN,
            )
    missing = [prefix + name for name in sorted(set(expected) - set(tensors))]
    surplus = [prefix + name for name in sorted(set(tensors) - set(expected))]
    wrong = [
        f"{prefix}{name} is {tuple(tensors[name].shape)}, not {tuple(expected[name])}"
        for name in sorted(set(expected) & set(tensors))
        if tuple(tensors[name].shape) != tuple(expected[name])
    ]
    faults = [
        f"{len(names)} {what} ({_some(names)})"
        for what, names in (("missing", missing), ("unknown", surplus), ("of wrong shape", wrong))
        if names
    ]
    if faults:
        raise ModelError(
            "tensors do not fit the model: " + "; ".join(faults),
            code="model.tensors_differ",
            where=where,
            hint="the file is of another model or damaged",
        )
    for name, value in tensors.items():
        if value.dtype not in _FLOATS:
            raise ModelError(
                f"tensor {prefix}{name} is of type {str(value.dtype).removeprefix('torch.')}",
                code="model.bad_tensor",
                where=where,
                hint="get the weights as they were published, not packed into fewer bits",
            )
        if not bool(torch.isfinite(value).all()):
            raise ModelError(
                f"tensor {prefix}{name} holds NaN or infinity",
                code="model.bad_tensor",
                where=where,
                hint=_FETCH_AGAIN,
            )


def _some(names: Sequence[str]) -> str:
    """List the first three names, each as a short line: they may be a stranger's."""
    return ", ".join(one_line(name) for name in names[:3]) + (", …" if len(names) > 3 else "")


def fill_module(
    module: nn.Module, tensors: Mapping[str, Tensor], where: str, prefix: str = ""
) -> None:
    """Put tensors into a module, all of them and nothing else.

    Parameters
    ----------
    module
        Its parameters are replaced, as float32.
    tensors
        Name to value, names as in the module's state dict.
    where, prefix
        File, and what stands before the names in it, for the message.

    Raises
    ------
    ModelError
        As `check_tensors`. Nothing is ever left at its random start.
    """
    module.load_state_dict(_fitting(module, tensors, where, prefix))


def _fitting(
    module: nn.Module, tensors: Mapping[str, Tensor], where: str, prefix: str
) -> dict[str, Tensor]:
    """Check tensors against a module and give them as float32; those that are it, uncopied."""
    expected = {name: value.shape for name, value in module.state_dict().items()}
    check_tensors(expected, tensors, where, prefix)
    return {name: value.to("cpu", torch.float32) for name, value in tensors.items()}


def make_filled(
    make: Callable[[], M], tensors: Mapping[str, Tensor], where: str, prefix: str = ""
) -> M:
    """Build a module whose every parameter is given, without drawing a random one first.

    Parameters
    ----------
    make
        Builds the module. Buffers that are no part of its state dict are left undefined.
    tensors, where, prefix
        As for `fill_module`.

    Returns
    -------
    torch.nn.Module
        In evaluation mode, on the CPU, without gradients. Its parameters share the memory of
        ``tensors`` where these are float32.
    """
    # On the meta device values cost nothing, and torch's generator stays where it is. Drawing
    # values there would make torch import its compiler, which takes longer than most models.
    with torch.device("meta"), _NoStartValues():
        module = make()
    module.load_state_dict(_fitting(module, tensors, where, prefix), assign=True)
    for part in module.modules():
        for name, buffer in part.named_buffers(recurse=False):
            if buffer.is_meta:
                setattr(part, name, torch.empty(buffer.shape, dtype=buffer.dtype))
    module.requires_grad_(requires_grad=False)
    return module.eval()


class _NoStartValues(TorchFunctionMode):
    """Leaves parameters as they are where a module would give them their values to start with."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def read_transformers_weights(directory: Path) -> tuple[dict[str, Tensor], str]:
    """Read ``model.safetensors`` (or its shards), else ``pytorch_model.bin``, of a directory.

    Returns
    -------
    tuple
        The tensors by their own names, and the sha256 of the file (of the files' hashes, in
        the order of their names, where there are several).
    """
    files = weights_files(directory)
    tensors = read_weights_files(files)
    hashes = [sha256_of(path) for path in files]
    joined = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
    return tensors, joined


def weights_files(directory: Path) -> list[Path]:
    """Return the weights files of a transformers directory, and no stray file.

    That is ``model.safetensors``, or the shards that its index names; else the same for
    ``pytorch_model.bin``. Safetensors come first: nothing in them could ever run.

    Raises
    ------
    ModelError
        None of them, or a shard that is missing; names weights of other kinds that are there.
    """
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (directory / name).is_file():
            return [directory / name]
        index = directory / f"{name}.index.json"
        if index.is_file():
            return _shards(directory, index)
    other = [name for name in _OTHER_WEIGHTS if (directory / name).is_file()]
    found = f", only {other[0]}, which protclip does not read" if other else ""
    raise ModelError(
        f"no weights (model.safetensors or pytorch_model.bin) in it{found}",
        code="model.no_weights",
        where=str(directory),
        hint=TRUSTED_FORM if other else _FETCH_AGAIN,
    )


#: Weights of TensorFlow, Flax, Rust and pickles of anything.
_OTHER_WEIGHTS = ("tf_model.h5", "flax_model.msgpack", "rust_model.ot", "model.pkl", "model.joblib")


def read_weights_files(files: Sequence[Path]) -> dict[str, Tensor]:
    """Read safetensors files, or files of ``torch.save`` (by their ending), into one table.

    Raises
    ------
    ModelError
        A file that cannot be read or holds more than tensors; says what it looks like.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = {}
    for path in files:
        if path.suffix != ".safetensors":
            content = load_pickled_tensors(path)
            for name, value in content.items():
                if not isinstance(value, Tensor):
                    raise ModelError(
                        f"entry {shown(name)} is a {type(value).__name__}, not a tensor",
                        code="model.bad_tensor",
                        where=str(path),
                        hint="the weights of transformers are a plain table of tensors",
                    )
            tensors.update(content)
            continue
        safetensors_shapes(path)
        try:
            tensors.update(load_file(path))
        # The library hands on what torch says of shapes and types that cannot be.
        except (SafetensorError, OSError, RuntimeError, TypeError, ValueError, KeyError) as error:
            raise ModelError(
                f"not a readable safetensors file (it looks like {describe_content(path)})",
                code="model.damaged",
                where=str(path),
                hint=_FETCH_AGAIN,
            ) from error
    if adapters := [name for name in tensors if ".lora_" in name]:
        raise adapter_not_merged(f"tensor {shown(adapters[0])} is of a LoRA adapter", files[0])
    return tensors


def _shards(directory: Path, index: Path) -> list[Path]:
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values())
    except RecursionError:
        raise ModelError(
            "cannot be read (too many brackets)",
            code="model.bad_json",
            where=str(index),
            hint=_FETCH_AGAIN,
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"cannot be read ({error})",
            code="model.unreadable",
            where=str(index),
            hint=_FETCH_AGAIN,
        ) from None
    strange = [name for name in names if not isinstance(name, str) or Path(name).name != name]
    if strange or not names:
        raise ModelError(
            "names no shards of its own directory", code="model.bad_manifest", where=str(index)
        )
    files = [directory / name for name in sorted(names)]
    for path in files:
        if not path.is_file():
            raise ModelError(
                "shard of the model is missing",
                code="model.missing_file",
                where=str(path),
                hint=_FETCH_AGAIN,
            )
    return files
