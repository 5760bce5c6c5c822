"""What people look at first shows the numbers it is given."""

import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from mlp_jax import Dataset, EpochMetrics, Evaluation, Examples, Layer, Model, figures, plots

KEPT = [EpochMetrics(1, 0.4, 0.3, 0.9, None, 1.0), EpochMetrics(2, 0.2, 0.25, 0.92, None, 1.0)]
LINES = [
    {"epoch": kept.epoch, "loss": kept.loss, "test_loss": kept.test_loss, "test_accuracy": kept.score} for kept in KEPT
]


def curves_of(figure):
    """By the label of each line in each panel, its points."""
    return [{line.get_label(): line.get_xydata().tolist() for line in panel.get_lines()} for panel in figure.axes]


def pixels_of(figure):
    return np.stack([np.asarray(panel.images[0].get_array()) for panel in figure.axes])


def test_a_learning_curve_of_metrics_or_of_a_run(tmp_path):
    text = "".join(json.dumps(line) + "\n" for line in LINES)
    (tmp_path / "metrics.jsonl").write_text(text + '{"epoch": 3, "lo')  # a line that a kill cut short
    expected = [
        {"training, during the epoch": [[1, 0.4], [2, 0.2]], "test, after it": [[1, 0.3], [2, 0.25]]},
        {"test accuracy, %": [[1, 90], [2, 92]]},
    ]
    for run in (KEPT, iter(KEPT), tmp_path, str(tmp_path), tmp_path / "metrics.jsonl"):
        assert curves_of(plots.learning_curve(run)) == expected


def test_a_learning_curve_of_a_population_is_its_median_in_a_band():
    members = [EpochMetrics(1, np.array([3.0, 1.0, 2.0]), np.ones(3), np.array([0.5, 0.7, 0.8]), None, 1.0)]
    costs, scores = (figure_axes := plots.learning_curve(members)).axes
    assert curves_of(figure_axes)[0]["training, during the epoch"] == [[1, 2]]
    assert curves_of(figure_axes)[1]["test accuracy, %"] == [[1, 70]]
    assert {y for _, y in costs.collections[0].get_paths()[0].vertices} == {1, 3}
    assert scores.collections[0].get_paths()[0].vertices[:, 1].tolist().count(80) > 0


def test_a_learning_curve_of_numbers_shows_r2():
    metrics = [EpochMetrics(1, 0.4, 0.3, 0.5, 0.1, 1.0)]
    assert curves_of(plots.learning_curve(metrics))[1] == {"test R²": [[1, 0.5]]}


@pytest.mark.parametrize(
    ("lines", "message"),
    [([], "no epoch"), ([{"epoch": 1, "worst": 0.1, "best": 0.2}], "worst, best for each epoch"), (None, "is no run")],
)
def test_a_directory_without_a_curve_is_refused(lines, message, tmp_path):
    if lines is not None:
        (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(ValueError, match=message):
        plots.learning_curve(tmp_path)


def test_a_confusion_matrix_shows_every_count():
    counts = np.array([[5, 1], [0, 4]])
    for found in (counts, Evaluation(0.1, 0.9, confusion=counts)):
        (panel,) = plots.confusion(found, ["cat", "dog"]).axes
        shown = {(*map(int, reversed(text.get_position())), text.get_text()) for text in panel.texts}
        assert shown == {(0, 0, "5"), (0, 1, "1"), (1, 1, "4")}
        assert panel.get_title() == "90.00% of 10 right"
        assert [label.get_text() for label in panel.get_yticklabels()] == ["cat", "dog"]
    with pytest.raises(ValueError, match="the targets are numbers"):
        plots.confusion(Evaluation(0.1, 0.9, rmse=0.2))


def test_weights_are_pictures_on_one_scale():
    weights = jnp.arange(-8.0, 10.0).reshape(3, 6)
    params = (Layer(weights, jnp.zeros(3)),)
    for given in (params, weights):
        figure = plots.weights(given, (2, 3, 1))
        np.testing.assert_array_equal(pixels_of(figure), np.reshape(weights, (3, 2, 3)))
        limit = np.percentile(np.abs(weights), 99)
        assert {panel.images[0].get_clim() for panel in figure.axes} == {(-limit, limit)}
        assert {panel.images[0].get_cmap().name for panel in figure.axes} == {figures.SIGNS.name}
    assert plots.weights(jnp.ones((1, 9))).axes[0].images[0].get_array().shape == (3, 3)
    for wrong in (None, (3, 3), (1, 2, 3)):
        with pytest.raises(ValueError, match="6 weights"):
            plots.weights(params, wrong)


def test_mistakes_are_those_of_the_network_surest_first():
    # Two pixels, two outputs that repeat them: the brighter pixel is the answer.
    params = (Layer(10 * jnp.eye(2), jnp.zeros(2)),)
    inputs = np.array([[0.1, 0.2], [0.2, 0.9], [0.9, 0.1], [0.5, 0.1]], np.float32)
    examples = Examples(inputs, np.array([0, 0, 0, 1]))
    figure = plots.mistakes(params, Dataset(examples, examples, (1, 2, 1), ("left", "right")), Model())
    assert [panel.get_title() for panel in figure.axes] == ["right, is left", "left, is right", "right, is left"]
    np.testing.assert_array_equal(pixels_of(figure)[:, 0], inputs[[1, 3, 0]])
    assert len(plots.mistakes(params, Dataset(examples, examples, (1, 2, 1)), Model(), count=1).axes) == 1
    right = Examples(inputs[2:3], np.array([0]))
    with pytest.raises(ValueError, match="there is no mistake"):
        plots.mistakes(params, Dataset(examples, right, (1, 2, 1)), Model())
    with pytest.raises(ValueError, match="image_shape is None"):
        plots.mistakes(params, Dataset(examples, examples), Model())


def test_a_notebook_shows_a_figure_without_pyplot():
    assert plots.confusion(np.eye(2, dtype=int))._repr_png_().startswith(b"\x89PNG")
    code = "import sys, mlp_jax.plots; print('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
