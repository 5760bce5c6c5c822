"""Makes tests/data/tfds anew: 200 digits of MNIST as TFDS prepares them, once as ArrayRecord and once as TFRecord.

The builder is TFDS's own `mnist`, which reads its four files from here instead of the network. It needs TensorFlow:

    pip install -e '.[tensorflow]' && python tests/data/make_tfds_fixture.py
"""

import shutil
import struct
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.image_classification import mnist

from mlp_jax import load_dataset

TRAIN, TEST = 160, 40
FIXTURE = Path(__file__).with_name("tfds")


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def main() -> None:
    digits = load_dataset("mnist")
    with tempfile.TemporaryDirectory() as scratch:
        published = Path(scratch)
        write_idx(published / "train-images-idx3-ubyte", digits.train.inputs[:TRAIN].reshape(-1, 28, 28))
        write_idx(published / "train-labels-idx1-ubyte", digits.train.targets[:TRAIN])
        write_idx(published / "t10k-images-idx3-ubyte", digits.test.inputs[:TEST].reshape(-1, 28, 28))
        write_idx(published / "t10k-labels-idx1-ubyte", digits.test.targets[:TEST])

        def fetch(_, urls: dict[str, str]) -> dict[str, str]:
            return {name: str(published / Path(url).stem) for name, url in urls.items()}

        with (
            mock.patch.multiple(mnist, _TRAIN_EXAMPLES=TRAIN, _TEST_EXAMPLES=TEST),
            mock.patch.object(tfds.download.DownloadManager, "download_and_extract", fetch),
        ):
            for file_format in ("array_record", "tfrecord"):
                shutil.rmtree(FIXTURE / file_format, ignore_errors=True)
                builder = tfds.builder("mnist", data_dir=FIXTURE / file_format)
                builder.download_and_prepare(
                    download_config=tfds.download.DownloadConfig(try_download_gcs=False), file_format=file_format
                )


if __name__ == "__main__":
    main()
