"""What begins with a slash: settings of the drawing, and what can be done with model and conversation."""

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pipeline import io
from pipeline.apps.console.conversation import Conversation
from pipeline.apps.trained import find
from pipeline.errors import UserError


class Leave(Exception):
    """The person wants to leave."""


class Knob(NamedTuple):
    """A number of `Settings`: `least` to `most`, or 0 if that means something of its own."""

    field: str
    type: type[int] | type[float]
    least: float
    most: float
    zero: str
    example: str

    @property
    def range(self) -> str:
        """What may be given, in words."""
        kind = "a whole number" if self.type is int else "a number"
        return f"{kind} from {self.least} to {self.most}{f', or 0 ({self.zero})' if self.zero else ''}"


KNOBS = {
    "/temp": Knob("temperature", float, 0.01, 10, "always the likeliest", "0.8"),
    "/tokens": Knob("tokens", int, 1, 1_000_000, "", "200"),
    "/top-k": Knob("top_k", int, 1, 1_000_000, "all", "50"),
    "/top-p": Knob("top_p", float, 0.01, 1, "", "0.95"),
    "/seed": Knob("seed", int, 0, 2**53, "", "1337"),
}


def completions() -> dict[str, bool]:
    """Every command, and whether a path follows it."""
    return {name: name in ("/load", "/save") for name in (*KNOBS, *ACTIONS)}


def obey(conversation: Conversation, line: str) -> str:
    """Do what a line asks and return what to say of it; raises `UserError` with what would be right, or `Leave`."""
    name, _, argument = line.strip().partition(" ")
    argument = argument.strip()
    if name in KNOBS:
        return _turn(conversation, name, KNOBS[name], argument)
    if name not in ACTIONS:
        near = difflib.get_close_matches(name, completions(), 1)
        raise UserError(f"there is no command {name}: {f'did you mean {near[0]}? ' if near else ''}/help lists them")
    action = ACTIONS[name]
    if argument and not action.takes:
        raise UserError(f"{name} takes nothing after it: type {name} alone")
    if action.takes and not argument:
        raise UserError(f"{name} needs {action.takes}: such as {name} {action.example}")
    return action.do(conversation, argument)


def _turn(conversation: Conversation, name: str, knob: Knob, argument: str) -> str:
    settings = conversation.settings
    if argument:
        try:
            value = knob.type(argument)
        except ValueError:
            value = -1
        if not (knob.least <= value <= knob.most or (knob.zero and value == 0)):
            raise UserError(f"{name} takes {knob.range}, not {argument!r}: such as {name} {knob.example}")
        setattr(settings, knob.field, value)
        if name == "/seed":
            conversation.restart()
    value = getattr(settings, knob.field)
    return f"{name} {value}{f' ({knob.zero})' if value == 0 and knob.zero else ''}"


def _load(conversation: Conversation, named: str) -> str:
    conversation.open(find(named, "language"))
    return f"{conversation.trained.directory}: {conversation.trained.describe()}. A new conversation begins."


def _info(conversation: Conversation, _: str) -> str:
    trained, settings = conversation.trained, conversation.settings
    knobs = "  ".join(f"{name} {getattr(settings, knob.field)}" for name, knob in KNOBS.items())
    said = len(conversation.tokens)
    seen = "which it has read" if trained.module.recurrent else f"of which it sees the last {min(said, trained.module.context)}"
    vocabulary = f"{trained.tokenizer.vocab_size} tokens in the vocabulary"
    return "\n".join(
        [
            f"{trained.directory}: {trained.describe()}, {vocabulary}",
            knobs,
            f"{said} tokens said, {seen}",
        ]
    )


def _save(conversation: Conversation, named: str) -> str:
    path = Path(named).expanduser()
    if path.is_dir() or not path.parent.is_dir():
        wrong = "is a folder" if path.is_dir() else "lies in a folder that is not there"
        raise UserError(f"{path} {wrong}: name a file, such as /save {ACTIONS['/save'].example}")
    if path.exists() and path.resolve() not in conversation.written:
        raise UserError(f"{path} is there already and is not this conversation's: name another file")
    try:
        io.write_bytes(path, conversation.text.encode())
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): name another file") from None
    conversation.written.add(path.resolve())
    return f"{len(conversation.text)} characters in {path}"


def _reset(conversation: Conversation, _: str) -> str:
    conversation.reset()
    return "A new conversation begins."


def _help(_conversation: Conversation, _: str) -> str:
    lines = [(f"{name} {knob.example}", f"{knob.field.replace('_', '-')}: {knob.range}") for name, knob in KNOBS.items()]
    lines += [(f"{name} {action.example}".strip(), action.help) for name, action in ACTIONS.items()]
    lines += [("Enter alone", "go on"), ("Alt-Enter", "a line end within what you type"), ("Ctrl-C", "stop the answer; twice: leave")]
    return "\n".join(f"{left:<26}{right}" for left, right in lines)


def _quit(_conversation: Conversation, _: str) -> str:
    raise Leave


class Action(NamedTuple):
    """A command that is no number: what it does and says, what has to follow it, and how it is explained."""

    do: Callable[[Conversation, str], str]
    help: str
    takes: str = ""
    example: str = ""


ACTIONS = {
    "/load": Action(_load, "open another model", "a model or a directory", "models/shakespeare"),
    "/info": Action(_info, "model, settings, and how much was said"),
    "/save": Action(_save, "write all that was said to a new file", "a file", "conversation.txt"),
    "/reset": Action(_reset, "begin a new conversation, at the seed"),
    "/help": Action(_help, "this list"),
    "/quit": Action(_quit, "leave"),
}
