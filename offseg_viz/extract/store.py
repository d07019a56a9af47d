"""Many records in one Zarr store: one group a record, read one at a time. No torch here, so that reading is quick."""

from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.record import load_record

MARKER = ".zgroup"


class RecordStore(Sequence):
    """The records of a store by number, id or slice, in the order of their ids; half-written ones are not seen.

    Parameters
    ----------
    path : folder of the store, as written by `extract_many`.
    create : make an empty store where there is none.

    Raises
    ------
    RecordError
        If `path` is no store.
    """

    def __init__(self, path: str | Path, *, create: bool = False):
        self.path = Path(path)
        if create and not self.path.exists():
            self.path.mkdir(parents=True)
            (self.path / MARKER).write_text('{"zarr_format": 2}\n')
        if not (self.path / MARKER).is_file():
            raise RecordError(f"no record store at {path}; needed a folder written by extract_many()")
        groups = self.path.glob(f"*/{MARKER}")
        self.ids = tuple(sorted(group.parent.name for group in groups if not group.parent.name.startswith(".")))

    def path_of(self, name: str) -> Path:
        """Folder of the record `name`; a name that is no plain file name is refused."""
        if name != Path(name).name or name.startswith("."):
            raise RecordError(f"{name!r} cannot name a record: needed a plain name without slashes or a leading dot")
        return self.path / name

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: int | str | slice) -> xr.Dataset | list[xr.Dataset]:
        if isinstance(key, slice):
            return [self[name] for name in self.ids[key]]
        if isinstance(key, str) and key not in self.ids:
            raise UnknownNameError(f"record of {self.path.name}", key, self.ids)
        return load_record(self.path_of(key if isinstance(key, str) else self.ids[key]))

    def __repr__(self) -> str:
        return f"<RecordStore {self.path.name}: {len(self)} records>"


def open_store(path: str | Path) -> RecordStore:
    """Open a store of `extract_many` for reading; records are read when they are asked for."""
    return RecordStore(path)
