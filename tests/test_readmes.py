"""What READMEs show runs: Python blocks, with what they print; commands; links."""

import dataclasses
import io
import os
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import mlp_jax
from mlp_jax import Model, init_params, load_dataset
from mlp_jax.cli import COMMANDS, main, parse
from mlp_jax.config import Train
from mlp_jax.runs import Run
from mlp_jax.runs.params import names_of

ROOT = Path(mlp_jax.__file__).parents[1]
READMES = [ROOT / "README.md", *sorted((ROOT / "mlp_jax").rglob("README.md")), ROOT / "scripts" / "README.md"]
TEXTS = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in READMES}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def as_shown(text):
    """Words, and a mark for each number: the digits that rounding decides differ from machine to machine."""
    return re.sub(r"[+-]?\d[\d.]*(e[+-]?\d+)?", "#", " ".join(text.split()))


def commands_of(text):
    """The arguments of every mlp-jax command in the shell blocks and in the prose."""
    shell = "\n".join(block for language, block in FENCE.findall(text) if language == "sh").replace("\\\n", " ")
    prose = re.findall(r"`((?:[\w.=/-]+ )?mlp-jax [^`\n]+)`", FENCE.sub("", text))
    for line in [*shell.splitlines(), *prose]:
        words = shlex.split(line.replace("sh -c '", "").replace("--command='", "").rstrip("'"), comments=True)
        names = [place for place, word in enumerate(words) if word.rpartition("/")[2] == "mlp-jax"]
        if names and len(words) > names[-1] + 1:
            yield tuple(words[names[-1] + 1 :])


def make_run(directory):
    """A run of an untrained network, and the program that predicts with it."""
    run = Run.create(directory, dataclasses.asdict(Train()) | names_of(Model()))
    run.save(init_params(jax.random.key(0)))
    assert main(["export", str(directory)]) == 0


@pytest.mark.parametrize("name", [name for name, text in TEXTS.items() if "```python\n" in text and ">>>" not in text])
def test_python_blocks_run_in_order_and_print_what_is_shown(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "runs/NAME/predict.stablehlo" in TEXTS[name]:
        make_run(Path("runs/NAME"))
    blocks, namespace = FENCE.findall(TEXTS[name]), {"__name__": "readme"}
    for (language, block), (following, shown) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if language == "python":
            printed = io.StringIO()
            with redirect_stdout(printed):
                exec(compile(block, name, "exec"), namespace)
            assert as_shown(printed.getvalue()) == (as_shown(shown) if following == "text" else "")


@pytest.mark.parametrize("command", sorted({command for text in TEXTS.values() for command in commands_of(text)}))
def test_every_command_is_one(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if command[-1] == "--help" or (len(command) == 1 and command[0] in COMMANDS):  # in prose, the name alone
        return
    arguments = [re.sub(r"^\$\w*SIZE$", "2", "lesson" if word == "NAME" else word) for word in command]
    arguments = [re.sub(r"^\$\w+$", "1", word) for word in arguments]
    if "--resume" in arguments:  # the settings come from a run
        place = arguments.index("--resume")
        del arguments[place : place + 2]
    assert type(parse(arguments)).__name__.lower() == command[0]


def test_there_are_no_other_python_blocks():
    languages = {language for text in TEXTS.values() for language, _ in FENCE.findall(text)}
    assert languages == {"python", "text", "sh"}


@pytest.mark.slow
def test_the_first_readmes_commands_run_one_after_the_other(tmp_path):
    """In an empty folder, but for a picture to predict and a table to learn."""
    write_houses(tmp_path / "houses.csv")
    digit = load_dataset("mnist").test.inputs[0].reshape(28, 28)
    Image.fromarray(255 - np.asarray(digit)).resize((200, 200)).save(tmp_path / "digit.png")
    (block,) = (text for language, text in FENCE.findall(TEXTS["README.md"]) if "source .venv/bin/activate" in text)
    lines = [line.partition("#")[0].strip() for line in block.splitlines()]
    beside = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    assert lines[0] == "source .venv/bin/activate"
    for line in lines[1:]:
        done = subprocess.run(line, shell=True, cwd=tmp_path, env=beside, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        if " predict " in line:
            assert "answer: 7" in done.stdout
    assert (tmp_path / "runs" / "first" / "report.html").is_file()


# What needs other machines or data, takes minutes, or is run by another test; and names of commands without arguments.
ELSEWHERE = re.compile(
    r"--distributed|--coordinator|tfds:|WHAT|huge|--preset|--seeds 64|experiment (?!noise --run)|runs/(long|many)"
    r"|members/|new[./]|serve|--help|^(train|predict|report)$"
)
OF_FOLDERS = {command for name, text in TEXTS.items() if name != "README.md" for command in commands_of(text)}
IN_SECONDS = sorted(command for command in OF_FOLDERS if not ELSEWHERE.search(" ".join(command)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with an untrained run and a table of numbers."""
    folder = tmp_path_factory.mktemp("readmes")
    make_run(folder / "runs" / "NAME")
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 2000, 4)).astype(np.float32)
    np.savez(folder / "houses.npz", x_train=x, y_train=x[:, :1] + 0.1 * y[:, :1], x_test=x, y_test=x[:, :1])
    write_houses(folder / "houses.csv")
    kinds = random.choice(["Adelie", "Gentoo"], 100)
    rows = (f"{kind},{200 + 20 * (kind == 'Gentoo') + random.normal(0, 5):.0f}" for kind in kinds)
    (folder / "penguins.csv").write_text("\n".join(["species,flipper_length_mm", *rows]) + "\n")
    for kind in ("cat", "dog"):
        (folder / "photos" / kind).mkdir(parents=True)
        for number in range(60):
            image = Image.fromarray(random.integers(0, 128, (20, 30, 3), np.uint8) + np.uint8(127 * (kind == "cat")))
            image.save(folder / "photos" / kind / f"{number}.jpg")
    return folder


def write_houses(path):
    """A table whose column price follows from the others."""
    random = np.random.default_rng(0)
    rows = [
        (round(size, 1), city)
        for size, city in zip(random.uniform(20, 200, 200), random.choice(["Oslo", "Rome"], 200), strict=True)
    ]
    lines = [f"{size},{city},{3000 * size + 50_000 * (city == 'Rome'):.0f}" for size, city in rows]
    path.write_text("\n".join(["size,city,price", *lines]) + "\n")


@pytest.mark.slow
@pytest.mark.parametrize("command", IN_SECONDS, ids=" ".join)
def test_commands_of_the_other_readmes_run(command, folder):
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "4"} if "--devices" in command else None
    call = [sys.executable, "-m", "mlp_jax", *command]
    done = subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize("name", TEXTS)
def test_every_link_leads_somewhere(name):
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", TEXTS[name])):
        if target.startswith("http"):
            continue
        path, _, heading = target.partition("#")
        path = (ROOT / name).parent / path if path else ROOT / name
        assert path.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, target


def test_the_first_readme_is_short():
    text = TEXTS["README.md"]
    assert len(text.splitlines()) <= 150
    assert len(text.split()) <= 1300
