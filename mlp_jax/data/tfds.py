"""Image classification sets of TensorFlow Datasets (TFDS), read without TensorFlow."""

import difflib
import hashlib
import importlib.util
import json
import os
import re
import sys
import tempfile
import zipfile
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import platformdirs

from mlp_jax.data.dataset import Dataset, DatasetError
from mlp_jax.data.npz import opened_npz
from mlp_jax.data.prepared import decode, fields
from mlp_jax.data.stored import read_dataset, reading

LAYOUT = 1  # of the files kept in the cache; whoever changes what is in them counts on, and they are made anew


def read_tfds(name: str, config: str | None = None, part: int = 0, parts: int = 1) -> Dataset:
    """The set `name` of TensorFlow Datasets, of its default configuration or of `config`.

    It is looked for where TFDS keeps sets, TFDS_DATA_DIR or ~/tensorflow_datasets, and of several versions the newest
    is taken. A prepared set is read without TensorFlow; one that is not there, TFDS prepares, which takes TensorFlow.
    Images are decoded once, with a bar on stderr where that is a terminal, and kept as `NAME/[CONFIG/]VERSION.npz` in
    the user's cache of data sets (platformdirs' cache directory of mlp_jax, /datasets); that file is made anew when
    the prepared files are others than those it was made of, or when it is damaged.

    Images become rows of height x width x channels; JPEG is decoded by Pillow, which can differ by rounding from
    TensorFlow. The examples are in the order in which TFDS wrote them, which is shuffled. Test images are those of
    the split `test`, or `validation` where there is none. `part` and `parts` are those of `load_dataset`.

    Raises DatasetError, a ValueError, for an unknown name or configuration, what is no image classification set (an
    image of uint8 and a label of a known number of classes, in a split `train` and one to test with), images of
    different sizes, damaged files, a set that cannot be prepared, or a cache that cannot be written.
    """
    source = ":".join(("tfds", name, config) if config else ("tfds", name))
    if not re.fullmatch(r"\w+", name) or not re.fullmatch(r"\w[\w.-]*", config or name):
        raise DatasetError(f"there is no data set {source!r}: expected tfds:NAME or tfds:NAME:CONFIG")
    home = Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    directory = _newest(home / name, config) or _prepare(source, name, config, home)
    cache = platformdirs.user_cache_path("mlp_jax", appauthor=False) / "datasets" / directory.relative_to(home)
    cache = cache.with_name(f"{cache.name}.npz")
    origin = _origin(directory)
    classes = _kept(cache, origin)
    if classes is not None:
        try:
            return _load(cache, classes, part, parts)
        except DatasetError:
            if _is_intact(cache):
                raise  # what is wrong is what was asked for
    classes = _keep(cache, origin, source, directory)
    return _load(cache, classes, part, parts)


def _newest(home: Path, config: str | None) -> Path | None:
    """The directory of the newest version that is prepared, None where there is none. TFDS is not imported for it."""
    if config is None:
        try:
            config = json.loads((home / ".config" / "metadata.json").read_text())["default_config_name"]
        except (OSError, ValueError, KeyError):
            config = ""  # a set without configurations
    versions = {
        tuple(map(int, path.parent.name.split("."))): path.parent
        for path in (home / (config or "")).glob("*/dataset_info.json")
        if re.fullmatch(r"\d+\.\d+\.\d+", path.parent.name)
    }
    return versions[max(versions)] if versions else None


def _prepare(source: str, name: str, config: str | None, home: Path) -> Path:
    """The directory in which TFDS has the set prepared, once it has it; an unfit set is refused before any download."""
    import tensorflow_datasets as tfds

    remedy = "pip install 'mlp_jax[tensorflow]', or set TFDS_DATA_DIR to where it is prepared"
    try:
        with redirect_stdout(sys.stderr):  # TFDS prints
            configs = tfds.builder_cls(name).builder_configs
            if config is not None and config not in configs:
                has = ", ".join(configs) or "which has none"
                raise DatasetError(f"{source}: expected a configuration of {name}, {has}")
            builder = tfds.builder(name, config=config, data_dir=home)
            directory = Path(builder.data_dir)
            if directory.exists():
                return directory
            fields(source, builder.info)
            if importlib.util.find_spec("tensorflow") is None:
                raise DatasetError(
                    f"{source} is not prepared in {directory}, and TFDS needs TensorFlow to prepare it: {remedy}"
                )
            if "tensorflow" not in sys.modules:  # left to itself, it would take all of a GPU's memory
                importlib.import_module("tensorflow").config.set_visible_devices([], "GPU")
            builder.download_and_prepare()
    except DatasetError:
        raise
    except tfds.core.DatasetNotFoundError as error:
        near = difflib.get_close_matches(name, tfds.list_builders(with_community_datasets=False), 3, 0.7)
        hint = f"; did you mean {' or '.join(f'tfds:{other}' for other in near)}?" if near else ""
        raise DatasetError(f"TFDS knows no data set {name!r}, and {home} holds none prepared{hint}") from error
    except Exception as error:  # the code of each set, downloads, checksums, files to be fetched by hand: anything
        reason = " ".join(str(error).split())
        hint = f"; {remedy}" if "No module named 'tensorflow'" in reason else ""
        raise DatasetError(f"{source}: TFDS cannot prepare it in {home}: {reason}{hint}") from error
    return directory


def _origin(directory: Path) -> str:
    """What tells the prepared files in `directory` from any others, without reading them."""
    with reading(str(directory)):
        files = sorted((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in directory.iterdir())
    return hashlib.sha256(json.dumps([LAYOUT, files]).encode()).hexdigest()


def _kept(cache: Path, origin: str) -> int | None:
    """The number of classes of the set in the file `cache`, None where that is not there or not of this `origin`."""
    try:
        with zipfile.ZipFile(cache) as archive:
            note = json.loads(archive.comment)
        return note["classes"] if note["origin"] == origin else None
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError):
        return None


def _load(cache: Path, classes: int, part: int, parts: int) -> Dataset:
    """What the file has; no example need be of the last classes."""
    with opened_npz(cache) as arrays:
        return replace(read_dataset(arrays, part, parts), classes=classes)


def _is_intact(cache: Path) -> bool:
    try:
        with opened_npz(cache) as arrays:
            read_dataset(arrays, 0, 1)
    except DatasetError:
        return False
    return True


def _keep(cache: Path, origin: str, source: str, directory: Path) -> int:
    """Decodes the set in `directory` into the file `cache`, and says how many classes it has.

    Other processes may do the same meanwhile: each puts a whole file in the place of what is there.
    """
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{cache.name}.", dir=cache.parent) as scratch:
            unfinished = Path(scratch) / cache.name
            with zipfile.ZipFile(unfinished, "w") as archive:
                classes = decode(source, directory, archive)
                archive.comment = json.dumps({"classes": classes, "origin": origin}).encode()
            unfinished.replace(cache)
    except OSError as error:
        raise DatasetError(
            f"{source}: the decoded images cannot be kept in {cache.parent} ({error.strerror or error}): "
            "make room there, or set XDG_CACHE_HOME to a directory that has it"
        ) from error
    return classes
