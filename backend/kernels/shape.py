"""What a plan of attention depends on beside its requests: the model's heads, the cache's values, the machine."""

from dataclasses import dataclass

CHUNK = 256
"""Keys whose sums exact mode adds to the rest in one piece."""


@dataclass(frozen=True, slots=True)
class Shape:
    """`fold` query heads share a K/V head; K and V have `value_bytes` a value, with a scale a head if `coded`.

    `processors` are the machine's (streaming multiprocessors), `capability` ten times its compute capability.
    """

    kv_heads: int
    fold: int
    head_dim: int
    value_bytes: int
    coded: bool
    processors: int
    capability: int = 80

    @property
    def key_bytes(self) -> int:
        """What one K/V head reads for one key: K, V, scales and the slot."""
        return 2 * self.head_dim * self.value_bytes + (8 if self.coded else 0) + 4

    @property
    def part_bytes(self) -> int:
        """A partial result of one token and query head: sums, maximum and mass in float32."""
        return (self.head_dim + 2) * 4


@dataclass(frozen=True, slots=True)
class Tile:
    """How a launch is compiled: query rows (tokens times fold) and keys of a tile, warps, stages of its pipeline."""

    rows: int
    keys: int
    warps: int
    stages: int


@dataclass(frozen=True, slots=True)
class Tiling:
    """Tiles in the order of their rows, one or two, and the keys of a chunk; 0 if chunks end anywhere."""

    tiles: tuple[Tile, ...]
    chunk: int

    @property
    def unit(self) -> int:
        """Prefixes are shared in multiples of so many keys."""
        return self.chunk or max(tile.keys for tile in self.tiles)

    def tile_for(self, rows: int) -> int:
        """The smallest that takes so many query rows, else the largest."""
        return next((i for i, tile in enumerate(self.tiles) if rows <= tile.rows), len(self.tiles) - 1)


def tiling(shape: Shape, exact: bool) -> Tiling:
    """The tiles to compute with: what a thread's registers hold on compute capability 8.0 and 9.0.

    Exact mode has one for everything, since tensor core instructions may round in other ways for other tiles. Else
    there is one for few rows (decoding), and one for many (prefixes, prefill).
    """
    least, wide = _power(shape.fold), shape.head_dim > 128
    fat_keys = 32 if wide or shape.coded else 64
    hopper = shape.capability >= 90 and not wide and not shape.coded  # one warp group multiplies 64 rows at a time
    if exact:
        rows = 32 if wide and shape.coded else 64
        warps = 4 if hopper or (shape.head_dim <= 64 and not shape.coded) else 8
        return Tiling((Tile(max(rows, least), fat_keys, warps, 3 if hopper else 2),), CHUNK)
    thin = Tile(max(16, least), 32 if wide and shape.coded else 64, 4, 2 if wide else 3)
    rows = 64 if wide or shape.coded else 128
    fat = Tile(max(rows, least), 128 if hopper else fat_keys, 8, 2)
    return Tiling((thin, fat) if thin.rows < fat.rows else (fat,), 0)


def _power(count: int) -> int:
    return 1 << (count - 1).bit_length()
