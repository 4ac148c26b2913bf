"""Compare an exported dataset with the rows that it was made of, where nothing of ours is installed.

    python stock_rows.py EXPORTED ROWS lsdb|streaming|stored

`ROWS` is a pickle: the columns by dotted name, arrays or lists, and the split of each row. None is an absent value.
Prints how many rows are the same; ends with an error at the first that is not.
"""

import importlib.util
import io
import pickle
import sys

import numpy as np


def pixels(value):
    """An image file, as any of the readers gives it, decoded."""
    from PIL import Image

    if isinstance(value, dict):
        value = value["bytes"]
    return np.asarray(Image.open(io.BytesIO(value)) if isinstance(value, bytes) else value)


def plain(value):
    """A value of LSDB or `datasets` as lists, image files decoded: a table within a row is a list of its rows."""
    if hasattr(value, "to_dict"):
        value = value.to_dict("records") if hasattr(value, "columns") else value.tolist()
    if hasattr(value, "as_py"):
        value = value.as_py()
    if isinstance(value, (dict, bytes)) or hasattr(value, "getpixel"):
        return pixels(value)
    if isinstance(value, (list, np.ndarray)) and np.asarray(value, dtype=object).ndim:
        return [plain(inner) for inner in value]
    return value


def member(row, path):
    """A member of a group: LSDB makes a table of a group whose members are lists of one length."""
    value = row
    for name in path.split("."):
        if is_absent(value):
            return None
        value = value[name]
    return value


def is_absent(value):
    """Whether a reader has no value: None, pandas' NA, NaN in a column of numbers, or an array of NaN."""
    if isinstance(value, (float, list)):
        numbers = np.asarray(value)
        return numbers.dtype.kind == "f" and bool(np.isnan(numbers).all())
    return value is None or type(value).__name__ == "NAType"


def assert_same(path, found, wanted):
    if wanted is None:
        assert is_absent(found), (path, found)
        return
    if isinstance(wanted, bytes):
        np.testing.assert_array_equal(pixels(found), pixels(wanted), err_msg=path)
        return
    found, wanted = np.asarray(plain(found)), np.asarray(wanted)
    np.testing.assert_array_equal(found.astype(wanted.dtype), wanted, err_msg=path)
    assert found.shape == wanted.shape, path


def rows_of_lsdb(exported):
    import lsdb

    catalog = lsdb.open_catalog(exported)
    ids = catalog.compute()["object_id"].tolist()[:2]
    found = catalog.id_search(values={"object_id": ids}).compute()
    assert set(found["object_id"]) == set(ids)
    pairs = catalog.crossmatch(catalog, radius_arcsec=1, n_neighbors=1, suffixes=("_a", "_b")).compute()
    assert len(pairs) == len(catalog) and pairs["_dist_arcsec"].max() < 1
    for _, row in catalog.compute().iterrows():
        yield row.get("_split"), row


def rows_of_datasets(exported, splits, streaming):
    from datasets import load_dataset

    for split in splits:
        for row in load_dataset(exported, split=split, streaming=streaming):
            yield split, row


def main(exported, path, how):
    assert not [name for name in ("skyshards", "gz3d", "deflate") if importlib.util.find_spec(name)]
    with open(path, "rb") as file:
        columns, splits = pickle.load(file)
    source = next(name for name in columns if name in ("source", "first_source"))
    place = {key: row for row, key in enumerate(zip(columns["object_id"], columns[source], strict=True))}
    there = sorted(set(splits))
    count = 0
    for split, row in (
        rows_of_lsdb(exported) if how == "lsdb" else rows_of_datasets(exported, there, how == "streaming")
    ):
        number = place.pop((row["object_id"], row[source]))
        assert split == splits[number] or (split is None and len(there) == 1)
        for name, values in columns.items():
            assert_same(name, member(row, name), values[number])
        count += 1
    assert not place
    print(count)


if __name__ == "__main__":
    main(*sys.argv[1:])
