"""What the first layer looked like as it learned, kept beside a run."""

import jax
import numpy as np
import pytest

from mlp_jax import init_params, load_params
from mlp_jax.cli import main
from mlp_jax.runs import RunError
from mlp_jax.runs.snapshots import NEURONS, is_due, keep_snapshot, read_snapshots


def test_they_are_close_together_where_most_is_learned():
    assert [epoch for epoch in range(31) if is_due(epoch, 30)] == [0, 1, 2, 3, 5, 8, 13, 21, 30]


def test_one_that_is_kept_again_takes_the_place_of_later_ones(tmp_path):
    drawn = [init_params(jax.random.key(seed), (20, NEURONS + 6, 4)) for seed in range(4)]
    for epoch, params in zip((0, 1, 2, 1), drawn, strict=True):
        keep_snapshot(tmp_path, epoch, params)
    kept = read_snapshots(tmp_path)
    assert kept is not None
    assert kept.epochs.tolist() == [0, 1]
    expected = [params[0].weights[:NEURONS].astype(np.float16) for params in (drawn[0], drawn[3])]
    np.testing.assert_array_equal(kept.weights, expected)


def test_what_float16_cannot_hold_is_cut(tmp_path):
    params = jax.tree.map(lambda leaf: leaf * 1e9, init_params(jax.random.key(0), (3, 2)))
    keep_snapshot(tmp_path, 0, params)
    kept = read_snapshots(tmp_path)
    assert kept is not None
    np.testing.assert_array_equal(kept.weights[0], 65504 * np.sign(params[0].weights))


def test_training_keeps_them_and_going_on_keeps_more(tmp_path, capsys):
    command = ["train", "--sizes", "784", "4", "10", "--batch-size", "1000"]
    assert main([*command, "--epochs", "2", "--out", str(tmp_path / "run")]) == 0
    kept = read_snapshots(tmp_path / "run")
    assert kept is not None
    assert kept.epochs.tolist() == [0, 1, 2]
    last = load_params(tmp_path / "run" / "params.safetensors")[0].weights
    np.testing.assert_array_equal(kept.weights[-1], last.astype(np.float16))
    assert main(["train", "--resume", str(tmp_path / "run"), "--epochs", "4"]) == 0
    further = read_snapshots(tmp_path / "run")
    assert further is not None
    assert further.epochs.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(further.weights[:3], kept.weights)

    (tmp_path / "run" / "snapshots.npz").write_bytes(b"not one")
    capsys.readouterr()
    assert main(["train", "--resume", str(tmp_path / "run"), "--epochs", "5"]) == 2
    assert "snapshots.npz is damaged" in capsys.readouterr().err
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 4  # before training, and not after


@pytest.mark.parametrize("content", [{}, {"epochs": np.arange(2), "weights": np.zeros((3, 2, 4), np.float16)}])
def test_another_file_of_that_name_is_refused(tmp_path, content):
    np.savez(tmp_path / "snapshots.npz", **content)
    with pytest.raises(RunError, match=r"snapshots\.npz"):
        read_snapshots(tmp_path)


def test_a_run_without_them_has_none(tmp_path):
    assert read_snapshots(tmp_path) is None
