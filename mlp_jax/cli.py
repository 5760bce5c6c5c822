"""The `mlp-jax` command: its arguments become settings, a command runs with them, and returns the exit status."""

import argparse
import ast
import atexit
import gc
import inspect
import io
import json
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, Field, fields, replace
from difflib import get_close_matches
from importlib import import_module, metadata
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from mlp_jax import config
from mlp_jax.checks import check_settings
from mlp_jax.config import Compare, Evaluate, Experiment, Export, Predict, Problem, Report, Serve, Sweep, Train
from mlp_jax.failures import message_of

KINDS = (Train, Sweep, Evaluate, Predict, Export, Report, Serve, Compare, Experiment)
COMMANDS = {kind.__name__.lower(): kind for kind in KINDS}
"""The settings of each command; module `mlp_jax.commands.NAME` has the function NAME that takes them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 2, after one line on stderr, if anything went wrong.

    In Python's development mode (PYTHONDEVMODE=1) an unexpected error is raised, with its traceback.
    """
    atexit.register(gc.freeze)  # a last search for garbage in all of JAX would delay the prompt by 0.3 s
    # A KeyboardInterrupt would break JAX's start halfway; until training has begun there is nothing to keep.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # bars and boxes, if the terminal cannot show them
    try:
        with _pipe_may_close():
            return _run(arguments)
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _pipe_may_close() -> Iterator[None]:
    """Within it, a reader that goes away, `| head` say, ends the program without a word, and with exit status 1.

    As Python's documentation has it (signal, "Note on SIGPIPE"): what is left in the buffers goes to the null device.
    """
    try:
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()  # here, and not as Python ends, when an error could no longer be caught
    except OSError as error:
        null = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            if not isinstance(error, BrokenPipeError) and stream is sys.stderr:
                print(f"mlp-jax: the output cannot be written: {error}", file=sys.stderr)
            elif stream is not None:
                os.dup2(null, stream.fileno())
        sys.exit(1 if isinstance(error, BrokenPipeError) else 2)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        settings = parse(arguments)
        name = type(settings).__name__.lower()
        module = import_module(f"mlp_jax.commands.{name}")  # here, and not above, because it imports JAX
        return getattr(module, name)(settings)
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as error:
        message = str(error)
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        message = message_of(error)
    print("mlp-jax:", re.sub(r"\s*\n\s*", " ", message.strip()), file=sys.stderr)
    return 2


def parse(arguments: Sequence[str] | None = None) -> Any:
    """The settings of the command that the arguments ask for, based on the defaults, a preset, or the run to resume.

    Raises ValueError, in one line, for arguments that make no sense, and for a run that cannot be resumed.
    """
    settings = _parse(arguments)
    check_settings(settings)
    return settings


def _parse(arguments: Sequence[str] | None) -> Any:
    name, given = _read(sys.argv[1:] if arguments is None else arguments)
    kind = COMMANDS[name]
    if kind is Train or kind is Sweep:
        if "resume" in given:
            return replace(_kept(given["resume"], kind), **given)
        usual = "table" if given.get("target") else "lesson"
        return replace(config.preset(kind, given.get("preset", usual)), **given)
    both = [setting for setting in given if kind is Compare and "run" in given and hasattr(Problem, setting)]
    if both:
        raise ValueError(f"{given['run']} has its own {', '.join(both)}: leave out --{' --'.join(both)}, or --run")
    return kind(**given)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        if choice := re.search(r"invalid choice: '(.*)' \(choose from (.*)\)$", message):
            message += _meant(choice[1], re.findall(r"[^', ]+", choice[2]))
        raise ValueError(f"{message}; see {self.prog} --help")


def _meant(word: str, known: Sequence[str]) -> str:
    return "".join(f"; perhaps you meant {near}" for near in get_close_matches(word, known, 1))


def _read(arguments: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The name of the command, and the settings that were given. Raises ValueError for any other arguments."""
    known, unknown = make_parser().parse_known_args(arguments)
    given = vars(known)
    name = given.pop("command")
    if unknown:
        flags = [_flag(field) for field in fields(COMMANDS[name])]
        meant = _meant(unknown[0], flags)
        raise ValueError(f"unrecognized arguments: {' '.join(unknown)}{meant}; see mlp-jax {name} --help")
    return name, _with_tuples(given)


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands; `shtab --shell=bash mlp_jax.cli.make_parser` makes a shell's completion of it."""
    parser = _Parser("mlp-jax", description="Train, examine and use multilayer perceptrons.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"mlp-jax {metadata.version('mlp_jax')}")
    commands, helps = parser.add_subparsers(dest="command", metavar="COMMAND", required=True), _help_texts()
    for name, kind in COMMANDS.items():
        _add_command(commands, name, kind, helps)
    return parser


def _add_command(commands: Any, name: str, kind: type, helps: dict[tuple[str, str], str]) -> None:
    """A parser of a command's arguments, which returns only those that were given."""
    about, hints = inspect.getdoc(kind) or "", get_type_hints(kind, include_extras=True)
    command = commands.add_parser(name, help=about.partition("\n")[0], description=about, allow_abbrev=False)
    places, groups = [], {title: command.add_argument_group(title) for title in config.GROUPS if kind in (Train, Sweep)}
    in_group = {setting: title for title in groups for setting in config.GROUPS[title]}
    listed = list(in_group)
    for field in sorted(fields(kind), key=lambda field: listed.index(field.name) if field.name in in_group else -1):
        text = next((helps[key] for of in kind.__mro__ if (key := (of.__name__, field.name)) in helps), "")
        options: dict[str, Any] = {"default": argparse.SUPPRESS}
        if get_origin(hints[field.name]) is Annotated:
            hint, place = get_args(hints[field.name])
            options |= _options(hint) | {"metavar": place}
            if get_origin(hint) is tuple or field.default is not MISSING:
                options["nargs"] = "+" if field.default is MISSING else "?"
            places.append(command.add_argument(field.name, help=text, **options).metavar)
        else:
            if field.default is not None:
                values = field.default if isinstance(field.default, tuple) else (field.default,)
                text += f" (default: {' '.join(map(str, values))})"
            to = groups[in_group[field.name]] if field.name in in_group else command
            to.add_argument(_flag(field), help=text, **options | _options(hints[field.name]))
    command.usage = " ".join(["%(prog)s", "[options]", *places])


def _flag(field: Field) -> str:
    return "--" + field.name.replace("_", "-")


def _options(hint: Any) -> dict[str, Any]:
    """Options of `add_argument` for a type."""
    origin, of = get_origin(hint), get_args(hint)
    if of == (int, float):
        return {"type": _number, "metavar": "NUMBER"}
    if origin in (Union, UnionType):  # of a type and None
        return _options(of[0])
    if origin is tuple:
        return _options(of[0]) | {"nargs": "*"}
    if origin is Literal:
        return {"choices": of}
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    return {"type": hint, "metavar": hint.__name__.upper()}


def _number(text: str) -> int | float:
    return int(text) if text.isdigit() else float(text)


def _help_texts() -> dict[tuple[str, str], str]:
    """The docstring below each field of the settings, by the names of class and field."""
    texts = {}
    try:
        source = inspect.getsource(config)
    except OSError:  # compiled files only
        source = ""
    for kind in ast.parse(source).body:
        if isinstance(kind, ast.ClassDef):
            for pair in pairwise(kind.body):
                match pair:
                    case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                        texts[kind.name, name] = " ".join(text.replace("%", "%%").split())
    return texts


def _kept(directory: Path, kind: type[Train | Sweep]) -> Any:
    """The settings that the run in this directory was started with."""
    file, hints = directory / "config.json", get_type_hints(kind)
    if not file.is_file():
        raise ValueError(f"{directory} is not a run that can be resumed: there is no {file.name} in it")
    try:
        kept = {name: value for name, value in json.loads(file.read_text()).items() if name in hints}
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{file} is damaged ({error})") from error
    for name, value in kept.items():
        if not _fits(value, hints[name]):
            raise ValueError(f"{file} is not one of mlp-jax {kind.__name__.lower()}: {name} is {value!r} there")
    return kind(**_with_tuples(kept))


def _with_tuples(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value from JSON is one of this type."""
    origin, of = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, each) for each in of)
    if origin is tuple:
        return isinstance(value, list) and all(_fits(each, of[0]) for each in value)
    if origin is Literal:
        return value in of
    return type(value) is hint or (hint is float and type(value) is int)
