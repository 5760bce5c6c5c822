"""The page of a run that learned a table: its columns as sliders and lists, and the answers that follow them."""

import base64
import csv
import json
import re

import numpy as np
import pytest
from processes import call

from mlp_jax import feedforward, load_model, load_params
from mlp_jax.data import encoded_rows
from mlp_jax.runs import load_preprocessing

ROWS, HOSTILE = 200, "<img src=x onerror=alert(1)>"
SHORT = ["--sizes", 0, 8, 0, "--epochs", 30, "--batch-size", 20, "--learning-rate", 0.02]
RUNS = {"flowers": ("kind", "robust"), "houses": ("price", "standard")}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of a table of flowers, with classes, and of one of houses, with numbers; both have missing values."""
    folder, random = tmp_path_factory.mktemp("tables"), np.random.default_rng(0)
    size, city = random.uniform(20, 200, ROWS).round(1), random.choice(["Oslo", "Rome", HOSTILE], ROWS)
    size[0] = 900  # which robust scaling bends
    new = random.choice(["yes", "no"], ROWS)
    price = 3000 * size + 50_000 * (city == "Rome") + 20_000 * (new == "yes") + random.normal(0, 5000, ROWS)
    kinds = np.array(["iris", HOSTILE, "tulip"])[(size > 80).astype(int) + (size > 140)]
    for name, values in (("flowers", kinds), ("houses", price.round())):
        target, scaling = RUNS[name]
        with (folder / f"{name}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["size", "city", "new", target])
            for row in range(ROWS):
                rows.writerow(["" if row % 9 == 4 else size[row], city[row], new[row], values[row]])
        data = ["--data", folder / f"{name}.csv", "--target", target, "--scaling", scaling]
        assert call("train", *data, *SHORT, "--out", folder / name) == 0
    return folder


def facts_of(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def outputs_of(run, table):
    """What the run's network answers to a table's rows, by the package."""
    file = run / "params.safetensors"
    kept = load_preprocessing(file)
    _, inputs = encoded_rows(kept, table)
    return np.asarray(feedforward(load_params(file), inputs, load_model(file))), kept


def test_it_holds_columns_and_targets_in_their_units(runs, report):
    for name in RUNS:
        path = report(runs / name)
        facts = facts_of(path)
        assert HOSTILE not in path.read_text(encoding="utf-8")
        assert [(column["name"], column["kind"]) for column in facts["columns"]] == [
            ("size", "number"),
            ("city", "text"),
            ("new", "yes_no"),
        ]
        assert facts["columns"][0]["high"] > 190
    assert facts["classNames"] is None
    assert facts["target"]["names"] == ["price"]
    assert facts["confusion"] is None
    assert {"test_r2", "test_loss"} <= facts["metrics"][-1].keys()
    assert facts_of(report(runs / "flowers"))["classNames"] == sorted(["iris", "tulip", HOSTILE])


def test_inputs_without_names_have_numbers(report, tmp_path):
    random = np.random.default_rng(0)
    x = random.normal(size=(60, 3))
    for name, y in (("numbers", x[:, :2] * 5), ("floats", np.arange(60) % 2)):
        np.savez(tmp_path / f"{name}.npz", x=x, y=y)
        settings = ["--output", "identity"] if name == "numbers" else []
        data = ["--data", tmp_path / f"{name}.npz", *settings]
        assert call("train", *data, "--epochs", 2, "--batch-size", 10, "--out", tmp_path / name) == 0
        facts = facts_of(report(tmp_path / name))
        assert [column["name"] for column in facts["columns"]] == ["input 0", "input 1", "input 2"]
        assert facts["columns"][0]["low"] == pytest.approx(x[:, 0].min(), abs=1)
        assert (facts["target"] is None) == (name == "floats")


def test_a_committee_has_the_page_of_its_best_member(runs, tmp_path, capsys):
    data = ["--data", runs / "flowers.csv", "--target", "kind", "--members", 3]
    assert call("train", *data, *SHORT, "--out", tmp_path / "run") == 0
    assert call("report", tmp_path / "run") == 0
    assert "is a committee: this is about its best member" in capsys.readouterr().err
    facts, params = facts_of(tmp_path / "run" / "report.html"), load_params(tmp_path / "run" / "params.safetensors")
    numbers = np.frombuffer(base64.b64decode(facts["parameters"]), "<f4")
    np.testing.assert_array_equal(numbers[: params[0].weights[0].size], params[0].weights[0].ravel())
    assert facts["metrics"][0]["epoch"] == 1


ENCODED = """(rows) => rows.map((values) => {
  const inputs = new Float64Array(PIXELS);
  values.forEach((value, at) => encode(inputs, at, value));
  const back = COLUMNS.map((_, at) => decode(inputs, at));
  return [Array.from(outputsOf(forwardPass(now.network, inputs))), back];
})"""


@pytest.mark.browser
@pytest.mark.parametrize("name", RUNS)
def test_rows_are_encoded_as_the_package_encodes_them(opened, runs, name):
    page = opened(runs / name)
    cities = page.evaluate("COLUMNS[1].categories")
    size, city, new = [35.5, 900.0, None, 120.25], ["Rome", "Oslo", HOSTILE, None], ["yes", "no", "no", "yes"]
    rows = [
        [one, None if place is None else cities.index(place), int(word == "yes")]
        for one, place, word in zip(size, city, new, strict=True)
    ]
    expected, _ = outputs_of(runs / name, {"size": size, "city": city, "new": new})
    found = page.evaluate(ENCODED, rows)
    np.testing.assert_allclose([outputs for outputs, _ in found], expected, rtol=1e-4, atol=1e-5)
    for (_, back), row in zip(found, rows, strict=True):
        assert [value if value is None else pytest.approx(value, rel=1e-3) for value in row] == back


@pytest.mark.browser
def test_the_answer_follows_sliders_and_lists(opened, runs):
    page = opened(runs / "houses")
    slider, answer = page.get_by_role("slider", name="size", exact=True).first, page.locator("#answer")

    def expected():
        said = page.get_by_role("spinbutton", name="size, as a number").input_value()
        city = page.get_by_role("combobox", name="city").evaluate("each => each.selectedOptions[0].textContent")
        new = page.get_by_role("combobox", name="new").evaluate("each => each.selectedOptions[0].textContent")
        outputs, kept = outputs_of(runs / "houses", {"size": [float(said)], "city": [city], "new": [new]})
        return kept.numbers(outputs)[0]

    before = answer.text_content()
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.get_by_role("combobox", name="city").select_option("Rome")
    page.wait_for_function(f"document.getElementById('answer').textContent !== {json.dumps(before)}")
    page.wait_for_timeout(100)
    assert float(answer.text_content().replace(",", "")) == pytest.approx(expected(), rel=0.01)
    page.get_by_role("spinbutton", name="size, as a number").fill("180")
    page.keyboard.press("Tab")
    page.wait_for_timeout(100)
    assert float(answer.text_content().replace(",", "")) == pytest.approx(expected(), rel=0.01)
    page.get_by_role("checkbox", name="size is missing").check()
    assert page.evaluate("decode(now.inputs, 0)") is None


@pytest.mark.browser
def test_it_says_which_change_of_one_column_would_change_the_answer(opened, runs):
    page = opened(runs / "flowers")
    page.get_by_role("spinbutton", name="size, as a number").fill("35")
    page.keyboard.press("Tab")
    page.locator("#wanted label", has_text="tulip").click()
    page.wait_for_selector("#columns-wanted[data-done]")
    page.wait_for_timeout(500)
    told = page.locator("#column-wishes tbody tr", has=page.get_by_role("rowheader", name="size", exact=True))
    value = float(re.search(r"([\d,.]+) would make it tulip", told.inner_text())[1].replace(",", ""))
    page.get_by_role("spinbutton", name="size, as a number").fill(str(value))
    page.keyboard.press("Tab")
    page.wait_for_timeout(200)
    assert page.locator("#answer").text_content() == "tulip"


@pytest.mark.browser
def test_a_value_that_is_too_far_out_to_be_told_is_shown_as_the_farthest_of_training(opened, runs):
    page = opened(runs / "flowers")
    shown = """(value) => {
      const inputs = new Float64Array(PIXELS);
      encode(inputs, 0, value);
      return [decode(Float64Array.from(Float32Array.from(inputs)), 0), COLUMNS[0].high];
    }"""
    value, high = page.evaluate(shown, 1e9)
    assert value == high
    assert page.evaluate(shown, 180)[0] == pytest.approx(180, rel=1e-3)


@pytest.mark.browser
def test_several_outputs_without_names_are_numbered(opened, tmp_path, capsys):
    random = np.random.default_rng(0)
    x = random.normal(size=(200, 3))
    np.savez(tmp_path / "two.npz", x=x, y=np.stack([x[:, 0] * 100 + 3, random.normal(size=200)], axis=1))
    settings = ["--sizes", 0, 8, 0, "--output", "identity", "--learning-rate", 0.001, "--epochs", 3, "--batch-size", 20]
    assert call("train", "--data", tmp_path / "two.npz", *settings, "--out", tmp_path / "run") == 0
    page = opened(tmp_path / "run")
    page.wait_for_function("sample.done === FACTS.sample")
    page.wait_for_timeout(100)
    shown = float(page.locator(".tally .accuracy").first.text_content())
    capsys.readouterr()
    assert call("evaluate", tmp_path / "run") == 0
    assert shown == pytest.approx(json.loads(capsys.readouterr().out.splitlines()[-1])["test_r2"], abs=2e-3)
    assert page.locator("#avenues-title").text_content() == "The three avenues of output 0"
    assert page.locator("#mistake").text_content() == "Next large error"


@pytest.mark.browser
def test_wishes_are_derivatives_in_units(opened, runs):
    page = opened(runs / "houses")
    found = page.evaluate("""() => {
      want([2]);
      now.pass ??= forwardPass(now.network, now.inputs);
      const cost = costAt(now.network, now.pass, now.targets());
      const { slope, falls, better } = effectOf(0, cost);
      const step = (COLUMNS[0].high - COLUMNS[0].low) / 1e5;
      const inputs = now.inputs.slice();
      encode(inputs, 0, decode(now.inputs, 0) + step);
      const moved = costAt(now.network, forwardPass(now.network, inputs), now.targets());
      const best = now.inputs.slice();
      encode(best, 0, better);
      const lowest = costAt(now.network, forwardPass(now.network, best), now.targets());
      return [slope, (cost - moved) * 1000, falls, cost - lowest];
    }""")
    assert found[0] == pytest.approx(found[1], rel=0.05)
    assert found[2] == pytest.approx(found[3])


@pytest.mark.browser
def test_scores_of_numbers_are_those_of_evaluate(opened, runs, capsys):
    page = opened(runs / "houses")
    page.wait_for_function("sample.done === FACTS.sample")
    page.wait_for_timeout(100)
    shown = float(page.locator(".tally .accuracy").first.text_content())
    capsys.readouterr()
    assert call("evaluate", runs / "houses") == 0
    assert shown == pytest.approx(json.loads(capsys.readouterr().out.splitlines()[-1])["test_r2"], abs=2e-3)


@pytest.mark.browser
@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("width", [390, 1280])
def test_it_is_accessible_and_fits(opened, runs, name, width):
    from axe_playwright_python.sync_playwright import Axe

    page = opened(runs / name, width=width)
    page.wait_for_selector("#columns-wanted[data-done]")
    found = Axe().run(page).response["violations"]
    assert [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found] == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate("document.querySelectorAll('img').length") == 0
