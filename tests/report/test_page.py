"""What a visitor does to the page, and what it answers: through a real browser."""

import itertools
import json
import math
import time

import jax
import numpy as np
import pytest
from PIL import Image

from mlp_jax import load_dataset

pytestmark = pytest.mark.browser
SAME = "now.network.layers.every((l, n) => l.weights.every((w, k) => w === now.kept[n].weights[k]))"


def until(page, expression):
    """Wait until it is true; Playwright's own waiting evaluates text in the page, which its policy forbids."""
    end = time.monotonic() + 20
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(20)


def frame(page):
    """Wait until what was asked for is drawn, that which is out of sight too."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    until(page, "parts.every(({ stale }) => !stale)")


def number(text):
    """What a number on the page says, which has a true minus sign."""
    return float(text.replace("\N{MINUS SIGN}", "-").removeprefix("+"))


def answer(page):
    frame(page)
    return page.text_content("#answer")


def tally(page, place="#dials"):
    """The counts of answers to the sample, once all of it is counted."""
    until(page, f"!document.querySelector('{place} .accuracy.unfinished') && sample.done === FACTS.sample")
    return [int(text) for text in page.locator(f"{place} .answers .number").all_text_contents()]


def accuracy(page):
    tally(page)
    return float(page.text_content("#dials .accuracy").removesuffix(" %"))


def shown_cost(page):
    frame(page)
    return page.text_content("#cost")


def begin_stroke(page, points, place="#pad"):
    """Press there and move on, in shares of the place's width and height; nothing is let go."""
    page.locator(place).scroll_into_view_if_needed()
    box = page.locator(place).bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for each in places[1:]:
        page.mouse.move(*each)


def stroke(page, points, place="#pad"):
    begin_stroke(page, points, place)
    page.mouse.up()
    frame(page)


ONE = [(0.55 - 0.005 * i, 0.15 + 0.035 * i) for i in range(20)]
CIRCLE = [(math.cos(i / 12 * math.pi), math.sin(i / 12 * math.pi)) for i in range(25)]


def choose(page, layer, neuron):
    page.locator("#neurons > div").nth(layer).locator("button").nth(neuron).click()
    frame(page)


def test_a_drawn_1_is_a_1(opened, trained):
    page = opened(trained)
    page.click("#clear")
    stroke(page, ONE)
    assert answer(page) == "1"
    bars = [float(text) for text in page.locator("#outputs .number").all_text_contents()]
    assert np.argmax(bars) == 1
    until(page, "document.querySelector('#spoken').textContent.startsWith('The network says 1')")


def test_two_digits_are_doubted(opened, trained):
    page = opened(trained)
    page.click("#clear")
    stroke(page, [(0.25 + 0.1 * x, 0.5 + 0.25 * y) for x, y in CIRCLE])
    assert page.text_content("#example") == ""
    stroke(page, [(0.7, 0.25), (0.7, 0.75)])
    assert page.text_content("#example").startswith("2 shapes stand side by side.")
    stroke(page, [(0.25, 0.5), (0.7, 0.5)])  # now it is one
    assert page.text_content("#example") == ""


def test_the_answer_follows_the_pen_within_a_frame(opened, trained):
    page = opened(trained)
    page.uncheck("#centres")  # which has a line look the same, however long it is
    page.click("#clear")
    begin_stroke(page, ONE[:1])
    box = page.locator("#pad").bounding_box()
    said = [page.locator("#outputs .number").all_text_contents()]
    for x, y in ONE[1:]:
        page.evaluate("window.next = new Promise((done) => requestAnimationFrame(done))")
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.evaluate("window.next")
        shown, computed = page.evaluate("""[
          [...document.querySelectorAll("#outputs .number")].map((each) => each.textContent),
          [...outputsOf(forwardPass(now.network, now.inputs))],
        ]""")
        assert [number(text) for text in shown] == pytest.approx(computed, abs=6e-4)
        said.append(shown)
    assert sum(one != other for one, other in itertools.pairwise(said)) > 10  # and the pen is still down
    page.mouse.up()


@pytest.mark.parametrize("middle", [(0.25, 0.3), (0.7, 0.6)])
def test_a_small_0_in_a_corner_is_a_0(opened, trained, middle):
    page = opened(trained)
    page.click("#clear")
    stroke(page, [(middle[0] + 0.1 * x, middle[1] + 0.14 * y) for x, y in CIRCLE])
    assert answer(page) == "0"


def test_a_drawing_is_scaled_into_20_pixels_and_centred_by_its_mass(opened, make_run):
    page = opened(make_run())
    page.click("#clear")
    stroke(page, [(0.1, 0.1), (0.1, 0.3), (0.2, 0.3)])
    ink = np.array(page.evaluate("[...now.inputs]")).reshape(28, 28)
    rows, columns = np.nonzero(ink > 0.5)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 in (19, 20, 21)
    centre = [(ink.sum(axis) @ (np.arange(28) + 0.5)) / ink.sum() for axis in (0, 1)]
    np.testing.assert_allclose(centre, 14, atol=0.75)  # moved by whole pixels
    page.uncheck("#centres")
    frame(page)
    there = np.array(page.evaluate("[...now.inputs]")).reshape(28, 28)
    assert np.nonzero(there > 0.5)[0].max() < 12
    page.click("#undo-stroke")
    assert page.evaluate("Math.max(...now.inputs)") == 0


def test_pen_and_eraser(opened, make_run):
    page = opened(make_run())
    page.uncheck("#centres")
    ink = {}
    for width in ("1", "4"):
        page.click("#clear")
        page.fill("#pen-width", width)
        stroke(page, [(0.2, 0.5), (0.8, 0.5)])
        ink[width] = page.evaluate("now.inputs.reduce((sum, pixel) => sum + pixel)")
    assert ink["4"] == pytest.approx(4 * ink["1"], rel=0.3)
    page.check("#erases")
    stroke(page, [(0.1, 0.5), (0.9, 0.5)])
    assert page.evaluate("now.inputs.reduce((sum, pixel) => sum + pixel)") < 0.1 * ink["4"]


def test_what_is_erased_is_not_centred(opened, make_run):
    page = opened(make_run())
    page.click("#clear")
    stroke(page, [(0.05, 0.95), (0.2, 0.95)])
    page.check("#erases")
    page.fill("#pen-width", "5")
    stroke(page, [(0.0, 0.95), (0.3, 0.95)])
    page.uncheck("#erases")
    page.fill("#pen-width", "2.4")
    stroke(page, [(0.5, 0.3), (0.5, 0.6)])
    rows, columns = np.nonzero(np.array(page.evaluate("[...now.inputs]")).reshape(28, 28) > 0.5)
    assert np.ptp(rows) + 1 in (18, 19, 20, 21)
    assert np.ptp(columns) < 4


def test_a_key_that_is_held_down_is_pressed_once(opened, make_run):
    page = opened(make_run())
    page.click("#clear")
    page.focus("#pad")
    for _ in range(4):
        page.keyboard.down("Space")  # which repeats
    page.keyboard.up("Space")
    assert page.evaluate("pad.strokes.length") == 1
    page.keyboard.press("Space")
    page.click("#next")
    example = page.text_content("#example")
    page.click("#undo-stroke")
    page.uncheck("#centres")
    assert page.text_content("#example") == example != ""


def test_a_finger_draws(opened, trained):
    page = opened(trained, width=360, has_touch=True, is_mobile=True)
    page.locator("#clear").tap()
    page.locator("#pad").scroll_into_view_if_needed()
    box, before = page.locator("#pad").bounding_box(), page.evaluate("scrollY")
    finger = page.context.new_cdp_session(page)
    for number, (x, y) in enumerate(ONE):
        point = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
        kind = "touchMove" if number else "touchStart"
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert answer(page) == "1"
    assert page.evaluate("scrollY") == before  # the page did not move away beneath it


def test_by_keyboard_alone(opened, trained):
    page = opened(trained)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the drawing pad"
    page.keyboard.press("Enter")
    for _ in range(3):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "clear":
            break
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.id") == "pad"
    page.keyboard.press("Space")
    for _ in range(14):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    assert answer(page) == "1"
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.name || ''"))
    wanted = "undo-stroke erases previous next mistake noise pen-width centres wanted step take-step bias off paint"
    assert set(wanted.split()) <= reached
    page.focus("#neurons button[tabindex='0']")
    assert page.text_content("#neuron-name") == "Second layer, neuron 0 (params[0])"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    until(page, "byId('neuron-name').textContent === 'Third layer, neuron 1 (params[1])'")
    said = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert said.startswith("third layer, neuron 1 (params[1]): weighted sum")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"


def test_mistakes_are_mistakes(opened, trained):
    page = opened(trained)
    labels = load_dataset("mnist").test.targets
    seen = set()
    for _ in range(5):
        page.click("#mistake")
        example = page.text_content("#example").split(":")[0].removeprefix("Test example ")
        seen.add(example)
        assert answer(page) != str(labels[int(example.replace(",", ""))])
        assert "but it is a" in page.text_content("#sure")
    assert len(seen) == 5


def test_test_examples_are_those_of_the_data(opened, make_run):
    page, dataset = opened(make_run()), load_dataset("mnist")
    for _ in range(3):
        page.click("#next")
    page.click("#previous")
    position = page.evaluate("FACTS.indices[now.position]")
    np.testing.assert_array_equal(
        np.rint(255 * np.array(page.evaluate("[...now.inputs]"))), dataset.test.inputs[position]
    )
    page.click("#noise")
    noise = np.array(page.evaluate("[...now.inputs]"))
    assert 0.45 < noise.mean() < 0.55
    assert page.text_content("#example") == ""


def test_a_neuron_tells_its_sum(opened, trained):
    page = opened(trained)
    choose(page, 1, 5)
    z = page.evaluate("now.pass.sums[1][5]")
    numbers = page.locator("#neuron-numbers dd").all_text_contents()
    assert number(numbers[0]) == pytest.approx(z, abs=1e-2)
    assert numbers[3] == "sigmoid"
    products = [number(text) for text in page.locator("#neuron-weights tbody td:nth-child(4)").all_text_contents()]
    assert len(products) == 16
    bias = page.evaluate("now.network.layers[1].biases[5]")
    assert sum(products) + bias == pytest.approx(z, abs=0.02)
    choose(page, 0, 2)
    assert page.locator("#neuron-pictures canvas").first.is_visible()
    assert "from 778 more" in page.text_content("#neuron-sum")


def test_the_lights_are_those_of_now_whatever_was_drawn_before(opened, make_run):
    page = opened(make_run())
    drawn = "byId('lights').toDataURL()"
    afresh = "(() => { unlit.pass = null; drawLights(); return byId('lights').toDataURL(); })()"
    seen = [page.evaluate(drawn)]
    for act in (
        lambda: choose(page, 1, 3),
        lambda: page.click("#next"),
        lambda: page.fill("#bias", "7"),
        lambda: page.check("#off"),
        lambda: page.set_viewport_size({"width": 1300, "height": 900}),
    ):
        act()
        page.evaluate("byId('lights').scrollIntoView({ behavior: 'instant' })")
        frame(page)
        seen.append(page.evaluate(drawn))
        assert seen[-1] == page.evaluate(afresh)
    assert len(set(seen)) == 6


def test_a_step_lowers_the_cost_and_is_undone(opened, trained):
    page = opened(trained)
    page.check("#wanted input[value='2']", force=True)
    costs = [shown_cost(page)]
    for button in ("#take-step", "#take-steps", "#undo-step", "#undo-step"):
        page.click(button)
        costs.append(shown_cost(page))
    first, one, twenty, back, kept = (number(cost) for cost in costs)
    assert twenty < one < first
    assert (back, kept) == (one, first)
    assert page.evaluate(SAME)
    assert page.is_disabled("#undo-step")


def test_all_become_2s_if_only_the_2_is_listened_to(opened, make_run):
    page = opened(make_run())
    page.check("#wanted input[value='2']", force=True)
    page.fill("#step", "1")
    for _ in range(10):
        page.click("#take-steps")
    assert tally(page, "#wants")[2] == 1000
    page.click("#reset")
    assert tally(page)[2] < 1000
    assert page.evaluate(SAME)


def test_undo_does_not_turn_dials_back(opened, make_run):
    page = opened(make_run())
    page.click("#take-step")
    page.fill("#bias", "7")
    frame(page)
    assert page.is_disabled("#undo-step")
    assert "dial was turned" in page.text_content("#step-note")
    page.fill("#bias", "1")
    page.click("#take-step")
    page.click("#undo-step")
    frame(page)
    assert page.evaluate("now.network.layers[0].biases[0]") == 1


def test_a_step_that_would_leave_the_numbers_is_not_taken(opened, make_run):
    page = opened(make_run(model=("identity", "identity", "quadratic")))
    page.fill("#step", "1.5")
    for _ in range(5):
        page.click("#take-steps")
        frame(page)
        if "not taken" in page.text_content("#step-note"):
            break
    assert "not taken" in page.text_content("#step-note")
    assert page.evaluate("now.network.layers.every(({ weights }) => weights.every(Number.isFinite))")


def test_a_bias_a_switch_and_a_brush_change_the_accuracy(opened, trained):
    page = opened(trained)
    kept, threes = accuracy(page), tally(page)[3]
    choose(page, 2, 3)
    page.fill("#bias", "-9")
    assert tally(page)[3] < threes / 2
    assert accuracy(page) < kept
    page.click("#reset-neuron")
    assert accuracy(page) == kept
    choose(page, 1, 0)
    page.check("#off")
    frame(page)
    assert page.evaluate("now.pass.activations[2][0]") == 0
    until(page, "document.querySelector('#neuron-numbers dd:last-child').textContent.startsWith('switched off')")
    off = accuracy(page)
    assert off < kept
    choose(page, 0, 3)
    stroke(page, [(0.1, 0.5), (0.9, 0.5)], "#paint")
    row = np.array(page.evaluate("[...row(now.network.layers[0], 3)]")).reshape(28, 28)
    before = np.array(page.evaluate("[...row(now.kept[0], 3)]")).reshape(28, 28)
    assert np.abs(row - before)[13:15, 4:24].min() > 0
    assert np.abs(row - before)[:11].max() == 0
    page.fill("#scale", "0")
    frame(page)
    assert page.evaluate("Math.max(...row(now.network.layers[0], 3).map(Math.abs))") == 0
    page.click("#reset")
    assert accuracy(page) == kept
    assert page.evaluate(SAME)


def test_a_blank_network_is_painted(opened, make_run):
    page = opened(make_run())
    choose(page, 0, 3)
    page.click("#blank")
    frame(page)
    assert page.evaluate("now.network.layers.every((l) => [...l.weights, ...l.biases].every((value) => value === 0))")
    assert page.locator("#outputs .number").all_text_contents() == ["0.500"] * 10
    stroke(page, [(0.1, 0.5), (0.9, 0.5)], "#paint")
    weights = np.array(page.evaluate("[...row(now.network.layers[0], 3)]")).reshape(28, 28)
    kept = page.evaluate("largest(row(now.kept[0], 3))")
    np.testing.assert_allclose(weights[13:15, 4:24], kept)
    assert not weights[:11].any()
    page.click("#reset")
    frame(page)
    assert page.evaluate(SAME)


def test_each_output_wants_something_else(opened, trained):
    page = opened(trained)
    page.click("#mistake")
    frame(page)
    assert (
        page.text_content("#each-title")
        == "What each output wants of the third layer (params[1]), before it is added up"
    )
    assert page.evaluate("[byId('each-columns').width, byId('each-columns').height]") == [12, 16]
    wanted = page.evaluate("now.wanted")
    assert page.text_content("#avenues-title") == f"The three avenues of output {wanted}"
    said = int(page.text_content("#answer"))
    page.check(f"#picked input[value='{said}']", force=True)
    frame(page)
    assert page.text_content("#avenues-title") == f"The three avenues of output {said}"
    a, bias, slope = page.evaluate(f"""[
      outputsOf(now.pass)[{said}], wantedNow()[LAST].biases[{said}],
      ACTIVATIONS.sigmoid.derivative(now.pass.sums[LAST][{said}]),
    ]""")
    assert bias == pytest.approx(-2 * a * slope)
    assert "and its bias by" in page.text_content("#slope")
    shares = [
        int(text.split(", ")[-1].split(" %")[0]) for text in page.locator("#avenues .most-wanted").all_text_contents()
    ]
    assert len(shares) == 3
    assert sum(shares) == pytest.approx(100, abs=1)
    page.click("#next")
    frame(page)
    assert page.text_content("#avenues-title") == f"The three avenues of output {page.evaluate('now.wanted')}"


def test_the_chain_rule_moves_along_its_lines(opened, make_run):
    page = opened(make_run())
    page.focus("#chain-tree input[data-name='w']")
    frame(page)
    shown = page.locator("#chain-tree output").all_text_contents()
    page.keyboard.press("ArrowRight")
    frame(page)
    now = page.locator("#chain-tree output").all_text_contents()
    moved = [one != other for one, other in zip(shown, now, strict=True)]
    assert moved == [True, False, False, True, True, False, True]  # w, z, a and C; not a(L-1), b and y
    product, nudged = (page.locator("#chain-ratios tr").nth(at).locator("td").first for at in (4, 5))
    assert number(product.text_content()) == pytest.approx(number(nudged.text_content()), abs=0.01)
    page.click("#chain-modes label:nth-of-type(2)")
    frame(page)
    *_, products, total, _ = page.locator("#chain-ratios tr").all()
    products = [number(text) for text in products.locator("td").all_text_contents()]
    assert sum(products) == pytest.approx(number(total.locator("td").text_content()), abs=2e-3)


def test_a_weight_of_a_later_layer_has_a_slider(opened, make_run):
    page = opened(make_run())
    choose(page, 1, 4)
    page.fill("#scale", "0.5")
    frame(page)
    page.locator("#weight-sliders input").nth(7).fill("0.5")
    frame(page)
    assert page.evaluate("now.network.layers[1].weights[4 * 16 + 7]") == 0.5
    page.fill("#scale", "0.9")  # of the weights as they are now
    assert page.evaluate("now.network.layers[1].weights[4 * 16 + 7]") == pytest.approx(0.45)


def test_the_accuracy_of_the_sample_is_that_of_the_package(opened, trained):
    page = opened(trained)
    labels, answers, sample = page.evaluate("[FACTS.labels, FACTS.answers, FACTS.sample]")
    right = np.array(labels[:sample]) == np.array(answers[:sample])
    assert accuracy(page) == pytest.approx(100 * right.mean(), abs=0.1)


def test_how_it_learned(opened, make_run):
    page = opened(make_run())
    assert page.locator("#curves figure > svg").count() == 2
    assert not page.is_visible("#beginning")  # these parameters are not those that its seed makes
    page.focus("#epoch")
    pictures = []
    for _ in range(3):
        pictures.append(page.evaluate("byId('snapshots').toDataURL()"))
        page.keyboard.press("ArrowLeft")
    assert len(set(pictures)) == 3
    assert "after epoch 0" in page.get_attribute("#snapshots", "aria-label")
    settings = dict(zip(*(page.locator(f"#settings {tag}").all_text_contents() for tag in ("dt", "dd")), strict=True))
    assert settings["sizes"] == "784, 16, 16, 10"
    assert not page.locator("#command-place").is_visible()  # this run was not trained by the command


def test_curves_begin_at_epoch_0(opened, trained):
    page = opened(trained)
    for label in [chart.get_attribute("aria-label") for chart in page.locator("#curves figure > svg").all()]:
        assert [label.count(text) for text in ("after epoch 0", "after epoch 10", "test", "training")] == [2, 2, 2, 2]
    page.uncheck("#beginning")
    for label in [chart.get_attribute("aria-label") for chart in page.locator("#curves figure > svg").all()]:
        assert [label.count(text) for text in ("after epoch 1,", "after epoch 0")] == [2, 0]


def test_the_command_that_made_it(opened, trained):
    page = opened(trained)
    assert page.text_content("#command").startswith("mlp-jax train --")
    assert "--epochs 10" in page.text_content("#command")


def test_a_cell_of_the_confusion_matrix_opens_its_images(opened, trained):
    page = opened(trained)
    confusion = np.array(page.evaluate("FACTS.confusion"))
    np.fill_diagonal(confusion, 0)
    label, said = np.unravel_index(confusion.argmax(), confusion.shape)
    cell = page.get_by_role("button", name=f"{label} answered as {said}: {confusion.max()}")
    cell.click()
    images = page.locator("#cell-images button")
    assert images.count() == min(60, confusion.max())
    images.nth(1).click()
    assert answer(page) == str(said)
    assert page.evaluate("FACTS.labels[now.position]") == label


def test_experiments_stand_in_a_section_of_their_own(opened, make_run):
    directory = make_run()
    said = {"claim": "it learns", "source": "lesson 1", "verdict": "holds in part", "finding": "it does", "numbers": {}}
    said |= {
        "parts": {"fast": True, "well": False},
        "criteria": {"fast": "in a minute", "well": "above 99 %"},
        "table": {"share": "60%"},
    }
    (directory / "noise.json").write_text(json.dumps(said))
    Image.new("RGB", (40, 30), "red").save(directory / "noise.png")
    page = opened(directory)
    assert page.is_visible("#to-experiments")
    assert page.text_content("#experiments h3") == "It learns"
    assert page.text_content("#experiments article > p") == "noise, lesson 1: holds in part"
    assert page.locator("#experiments li").all_text_contents() == [
        "fast: holds. Criterion: in a minute.",
        "well: does not hold. Criterion: above 99 %.",
    ]
    page.locator("#experiments img").scroll_into_view_if_needed()
    until(page, "document.querySelector('#experiments img').naturalWidth === 40")


def test_code_that_is_not_its_own_does_not_run(opened, make_run):
    directory = make_run("<script>alert(1)<")
    page = opened(directory)
    assert page.text_content("h1") == "<script>alert(1)<"
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.odd = 1'}))")
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.odd = 1\">')")
    page.evaluate("fetch('http://127.0.0.1:9/').catch(() => {})")
    frame(page)
    assert page.evaluate("window.odd") is None
    for what in ("inline script", "inline event handler", "http://127.0.0.1:9/"):
        assert any(what in said for said in page.complaints), what
    assert all("Content Security Policy" in said for said in page.complaints)
    page.complaints.clear()


def data_set(path, shape):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (30, *shape), np.uint8), np.arange(30) % 4
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    return str(path)


def test_what_is_no_image_is_a_list(opened, make_run, tmp_path):
    page = opened(make_run(data=data_set(tmp_path / "flat.npz", (20,)), sizes=(20, 8, 4)))
    assert page.locator("#inputs input").count() == 20
    assert not page.locator("#pad").is_visible()
    page.locator("#inputs input").nth(3).fill("0.25")
    frame(page)
    assert page.evaluate("now.inputs[3]") == 0.25
    assert page.locator("#weight-sliders input").count() == 20


def test_pictures_with_colours_are_looked_at(opened, make_run, tmp_path):
    page = opened(make_run(data=data_set(tmp_path / "colour.npz", (6, 5, 3)), sizes=(90, 8, 4)))
    assert page.locator("#pad").is_visible()
    assert not page.locator("#clear").is_visible()
    page.click("#next")
    frame(page)
    assert page.evaluate("[byId('pad').width, byId('pad').height]") == [5, 6]
    box = page.locator("#pad").bounding_box()
    assert box["height"] / box["width"] == pytest.approx(6 / 5, rel=0.01)


@pytest.mark.parametrize("sizes", [(784, 10), (784, 128, 64, 10), (784, 600, 300, 10)])
def test_networks_of_other_sizes_say_how_much_of_them_is_drawn(opened, make_run, sizes):
    page = opened(make_run(sizes=sizes))
    frame(page)
    note = page.text_content("#edges-note")
    assert ("first 256 of 600 neurons" in note) == (600 in sizes)
    drawn = page.evaluate("now.network.layers.map((l, n) => strongestEdges(l, now.pass.activations[n]).edges.length)")
    assert 100 < max(drawn) <= 256
    assert f"strongest {drawn[0]} of" in note
    # Whoever points at a lamp points at its own neuron.
    missed = page.evaluate("""() => {
      const { left, top } = byId("lights").getBoundingClientRect();
      const at = ([x, y], number, j) => document.elementFromPoint(left + x, top + y) !== buttonOf(number, j);
      return lamps.flatMap((places, number) => places.filter((place, j) => at(place, number, j))).length;
    }""")
    assert missed == 0


def test_every_parameter_is_the_runs(opened, make_run):
    def doubled(params):
        return jax.tree.map(lambda leaf: 2 * leaf, params)

    one, other = opened(make_run("one")), opened(make_run("other", change=doubled))
    weights = [page.evaluate("[...now.network.layers[1].weights]") for page in (one, other)]
    np.testing.assert_array_equal(2 * np.array(weights[0]), weights[1])
