"""Tensors of a checkpoint folder, by name, from one safetensors file or several with an index."""

import hashlib
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from lampc.backend.errors import CheckpointError, Unsupported
from lampc.backend.tokenizer import read_json

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_STORED = (torch.float32, torch.bfloat16, torch.float16)


class Weights:
    """Reads tensors lazily and checks what it reads. Raises CheckpointError, naming file and tensor."""

    def __init__(self, folder: Path, single: str = SINGLE) -> None:
        """`single` is the name of the file of a folder without an index."""
        self._files: dict[str, Path] = {}
        self._open: dict[Path, Any] = {}
        self._unread: set[str] = set()
        self.bytes_read = 0  # of tensors, as they are stored
        index = folder / INDEX
        if index.exists():
            table = read_json(index).get("weight_map")
            if not isinstance(table, dict) or not table:
                raise CheckpointError(f"{index}: no 'weight_map'; save the checkpoint again")
            self.paths = sorted({folder / name for name in table.values()})
            self._files = {name: folder / file for name, file in table.items()}
        else:
            self.paths = [folder / single]
        for path in self.paths:
            names = self._reader(path).keys()
            if not index.exists():
                self._files = dict.fromkeys(names, path)
        self._unread = set(self._files)

    def _reader(self, path: Path) -> Any:
        reader = self._open.get(path)
        if reader is None:
            if not path.is_file():
                raise CheckpointError(f"{path}: no such file; weights must be in the safetensors format")
            try:
                reader = safe_open(path, framework="pt")
            except (SafetensorError, OSError) as error:
                raise CheckpointError(
                    f"{path}: not a whole safetensors file ({error}); fetch or save it again"
                ) from error
            self._open[path] = reader
        return reader

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def shape(self, name: str) -> tuple[int, ...]:
        """That of a tensor that is there."""
        return tuple(self._reader(self._files[name]).get_slice(name).get_shape())

    def get(
        self,
        name: str,
        shape: tuple[int, ...],
        device: torch.device,
        dtype: torch.dtype,
        part: tuple[slice, ...] | None = None,
    ) -> torch.Tensor:
        """One tensor, of exactly this shape, moved and cast from float32, bfloat16 or float16; or a part of it, which
        is all that is read then.

        Raises CheckpointError, or Unsupported for other stored dtypes.
        """
        path = self._files.get(name)
        if path is None:
            raise CheckpointError(f"{self.paths[0].parent}: tensor {name!r} is missing from the weights")
        try:
            stored = self._reader(path).get_slice(name)
            found = tuple(stored.get_shape())
            if found != shape:
                raise CheckpointError(f"{path}: tensor {name!r} has shape {found}, config.json asks for {shape}")
            whole = part is None
            tensor: torch.Tensor = self._reader(path).get_tensor(name) if whole else stored[part]
        except SafetensorError as error:
            raise CheckpointError(f"{path}: tensor {name!r} cannot be read: {error}") from error
        self.bytes_read += tensor.nbytes
        if tensor.dtype not in _STORED:
            raise Unsupported(
                f"{path}: tensor {name!r} is stored as {_short(tensor.dtype)}; supported are "
                f"{', '.join(map(_short, _STORED))}: fetch or save the checkpoint in one of these"
            )
        self._unread.discard(name)
        cast = tensor.to(device=device, dtype=dtype)
        if dtype is torch.float16 and tensor.dtype is not dtype and bool(cast.isinf().any()):
            raise CheckpointError(f"{path}: tensor {name!r} has values beyond float16; load it as bfloat16")
        return cast

    def ignore(self, pattern: str) -> None:
        """Names that the whole pattern matches need not be read."""
        self._unread = {name for name in self._unread if re.fullmatch(pattern, name) is None}

    def check_all_read(self) -> None:
        """Raises CheckpointError if the files hold tensors that nothing has asked for."""
        if self._unread:
            first, more = min(self._unread), len(self._unread) - 1
            raise CheckpointError(
                f"{self._files[first]}: tensor {first!r}{f' and {more} more' if more else ''} "
                "in the weights but not in the model; config.json does not describe these weights"
            )

    def digest(self) -> str:
        """SHA-256 over the files' contents, 32 hex digits."""
        total = hashlib.sha256()
        for path in self.paths:
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        return total.hexdigest()[:32]

    def close(self) -> None:
        """Forgets the open files."""
        self._open.clear()


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
