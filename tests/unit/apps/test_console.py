"""The console: on a real pseudo-terminal, through a pipe, and its commands one by one."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.apps.console import commands
from pipeline.apps.console.conversation import Conversation
from pipeline.data import tokenizers
from pipeline.errors import UserError
from pipeline.schema.families import FAMILIES
from tests.terminal import Terminal
from tests.unit.apps import small_speaker
from tests.workspace import PROJECT, environment

PROMPT = r"\n>\s*$"
PLAIN = "cat"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a float and a packed model."""
    folder = tmp_path_factory.mktemp("speakers")
    small_speaker.write(folder / "float")
    small_speaker.write(folder / "packed", packed=True)
    return folder


@pytest.fixture
def conversation(folder: Path) -> Conversation:
    talk = Conversation(folder / "packed")
    talk.settings.temperature, talk.settings.tokens = 0.0, 9
    return talk


def pipe(folder: Path, text: str | bytes, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    data = text.encode() if isinstance(text, str) else text
    command = [sys.executable, "-m", "pipeline", "console", *arguments]
    env = environment(PYTHONPATH=str(PROJECT), OMP_NUM_THREADS="1")
    done = subprocess.run(command, cwd=folder, env=env, input=data, capture_output=True, timeout=120)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_a_person_talks_saves_loads_and_leaves(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with Terminal(folder, "console", "packed", QUINTET_HOME=str(tmp_path / "state")) as screen:
        assert "packed: transformer" in screen.expect(PROMPT)
        screen.enter("/temp 0")
        assert "/temp 0.0 (always the likeliest)" in screen.expect(PROMPT)
        screen.enter("/tokens 30")
        screen.expect(PROMPT)
        screen.enter(PLAIN)
        assert "30 tokens, " in screen.expect(PROMPT)
        screen.type("/sa\t")
        screen.expect("/save")
        screen.enter(f" {tmp_path}/said.txt")
        screen.expect(PROMPT)
        assert (tmp_path / "said.txt").read_text() == PLAIN + small_speaker.greedy(folder / "packed", PLAIN, 30)
        screen.enter("/tmep 1")
        assert "there is no command /tmep: did you mean /temp? /help lists them" in screen.expect(PROMPT)
        screen.enter("Cat!")
        assert "this model does not know 'C' (U+0043), '!' (U+0021): write the line without them" in screen.expect(PROMPT)
        screen.type("\x1b[A\r")  # the key Up brings the line back
        assert "Cat!" in screen.expect(PROMPT)
        screen.enter("/load float/model.safetensors")
        assert "float: transformer" in screen.expect(PROMPT)
        screen.enter("/quit")
        assert screen.ends() == 0
    assert "+/load float/model.safetensors" in (tmp_path / "state/console.history").read_text()


def test_ctrl_c_stops_the_answer_and_twice_leaves(folder: Path) -> None:
    assert len(small_speaker.greedy(folder / "float", PLAIN, 300)) == 300
    with Terminal(folder, "console", "float") as screen:
        screen.expect(PROMPT)
        for line in ("/temp 0", "/tokens 1000000"):
            screen.enter(line)
            screen.expect(PROMPT)
        screen.enter(PLAIN)
        screen.expect(r"\d+ tokens, \d+ a second, Ctrl-C stops")
        screen.type("\x03")
        assert "stopped: Ctrl-C again leaves" in screen.expect(PROMPT)
        screen.enter("/info")  # a line between: the next one does not leave yet
        assert "of which it sees the last" in screen.expect(PROMPT)
        screen.type("\x03")
        screen.expect("Ctrl-C again leaves")
        screen.expect(PROMPT)  # from here on the terminal is in raw mode again: the key is read, and no signal
        screen.type("\x03")
        assert screen.ends() == 0


def test_a_pipe_gets_the_models_words_alone(folder: Path) -> None:
    code, words, beside = pipe(folder, f"/temp 0\n/tokens 12\n{PLAIN}\n", "float")
    assert (code, words) == (0, small_speaker.greedy(folder / "float", PLAIN, 12) + "\n")
    assert beside.splitlines() == ["/temp 0.0 (always the likeliest)", "/tokens 12"]


def test_what_a_pipe_cannot_have_is_one_line_and_an_exit_code(folder: Path) -> None:
    code, words, beside = pipe(folder, b"/tokens 0\ncaf\xe9\n\xe2\x82\xac\n/quit\ncat\n", "packed/config.json")
    assert (code, words) == (2, "")
    assert [line.split(":")[0] for line in beside.splitlines()] == ["error"] * 3
    assert "/tokens takes a whole number from 1 to 1000000, not '0'" in beside and "'€' (U+20AC)" in beside


@pytest.mark.parametrize("name", ["float", "packed"])
def test_the_window_slides_and_the_conversation_stays(folder: Path, name: str) -> None:
    talk = Conversation(folder / name)
    talk.settings.temperature = 0.0
    said = ""
    for line in ("the cat sat on the mat", "and the rat ran", ""):
        talk.say(line)
        said += ("\n" if said and line and not said.endswith("\n") else "") + line
        context = talk.trained.module.context
        expected = small_speaker.greedy(folder / name, said[-context:], 40)
        talk.settings.tokens = 40
        assert "".join(talk.answer()) == expected
        said += expected
    assert talk.text == said and len(said) > 5 * context


@pytest.mark.parametrize("family", [name for name, block in FAMILIES.items() if block.recurrent])
@pytest.mark.parametrize("packed", [False, True], ids=["float", "packed"])
def test_a_recurrent_state_goes_from_answer_to_answer(tmp_path: Path, family: str, packed: bool) -> None:
    """What is said is what a model that has just read the whole conversation says, far beyond a window of its training."""
    talk = Conversation(small_speaker.write(tmp_path / ("packed" if packed else "float"), packed, family=family))
    talk.settings.temperature, talk.settings.tokens, said = 0.0, 30, ""
    for line in ("the cat sat on the mat", "and the rat ran", ""):
        talk.say(line)
        said = talk.text
        expected = small_speaker.greedy(tmp_path / talk.trained.directory.name, said, 30)
        assert "".join(talk.answer()) == expected
        assert talk.heard == len(talk.tokens) - (1 if len(expected) == 30 else 0)  # the last one drawn is read with the next line
    assert "which it has read" in commands.obey(talk, "/info") and len(said) > 12


def test_the_same_seed_says_the_same_and_the_next_answer_differs(conversation: Conversation) -> None:
    conversation.settings.temperature = 1.0

    def answer() -> str:
        conversation.tokens = []
        conversation.say(PLAIN)
        return "".join(conversation.answer())

    commands.obey(conversation, "/seed 7")
    first, second = answer(), answer()
    commands.obey(conversation, "/seed 7")
    assert first == answer() != second
    commands.obey(conversation, "/reset")
    assert first == answer()
    commands.obey(conversation, "/seed 8")
    assert first != answer()


def test_settings_reach_the_drawing(conversation: Conversation) -> None:
    conversation.say(PLAIN)
    greedy = "".join(conversation.answer())
    for line in ("/temp 5", "/top-k 1", "/tokens 9"):
        commands.obey(conversation, line)
    conversation.tokens = conversation.tokens[: len(PLAIN)]
    assert "".join(conversation.answer()) == greedy
    commands.obey(conversation, "/top-k 0")
    commands.obey(conversation, "/top-p 0.01")
    conversation.tokens = conversation.tokens[: len(PLAIN)]
    assert "".join(conversation.answer()) == greedy
    assert "/temp 5.0  /tokens 9  /top-k 0  /top-p 0.01" in commands.obey(conversation, "/info")


@pytest.mark.parametrize(
    ("line", "right"),
    [
        ("/temp hot", "/temp takes a number from 0.01 to 10, or 0 (always the likeliest), not 'hot': such as /temp 0.8"),
        ("/temp nan", "/temp takes a number"),
        ("/temp -1", "/temp takes a number"),
        ("/tokens 1.5", "/tokens takes a whole number from 1 to"),
        ("/top-k -1", "/top-k takes a whole number from 1 to"),
        ("/top-p 0", "/top-p takes a number from 0.01 to 1, not '0': such as /top-p 0.95"),
        ("/seed x", "/seed takes a whole number from 0 to"),
        ("/quit now", "/quit takes nothing after it: type /quit alone"),
        ("/load", "/load needs a model or a directory: such as /load models/shakespeare"),
        ("/save", "/save needs a file: such as /save conversation.txt"),
        ("/save .", ". is a folder: name a file"),
        ("/save none/of/these.txt", "none/of/these.txt lies in a folder that is not there: name a file"),
        ("/nothing", "there is no command /nothing: /help lists them"),
        ("/load nobody", "nobody is no model directory, and no model of that name is made here: "),
        ("", "there is nothing to go on from yet: type the beginning of a text"),
    ],
)
def test_a_bad_line_gets_one_line_and_changes_nothing(conversation, line, right, tmp_path, monkeypatch) -> None:
    before = (vars(conversation.settings).copy(), conversation.trained.directory, list(conversation.tokens))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        commands.obey(conversation, line) if line else conversation.say(line)
    assert str(error.value).startswith(right) and "\n" not in str(error.value)
    assert before == (vars(conversation.settings), conversation.trained.directory, conversation.tokens)


def test_every_command_is_in_the_help(conversation: Conversation) -> None:
    listed = [line.split()[0] for line in commands.obey(conversation, "/help").splitlines() if line.startswith("/")]
    assert listed == list(commands.completions())


def test_save_overwrites_only_its_own(conversation: Conversation, tmp_path: Path) -> None:
    conversation.say(PLAIN)
    (tmp_path / "other.txt").write_text("kept")
    with pytest.raises(UserError, match="is there already and is not this conversation's: name another file"):
        commands.obey(conversation, f"/save {tmp_path}/other.txt")
    assert (tmp_path / "other.txt").read_text() == "kept"
    commands.obey(conversation, f"/save {tmp_path}/mine.txt")
    conversation.say("dog")
    commands.obey(conversation, f"/save {tmp_path}/mine.txt")
    assert (tmp_path / "mine.txt").read_text() == f"{PLAIN}\ndog"


def test_a_broken_model_leaves_the_conversation_as_it_was(conversation: Conversation, folder: Path, tmp_path: Path) -> None:
    conversation.say(PLAIN)
    broken = small_speaker.write(tmp_path / "broken")
    (broken / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="is not valid JSON"):
        commands.obey(conversation, f"/load {broken}")
    assert conversation.text == PLAIN and conversation.trained.directory == folder / "packed"


def test_characters_that_only_the_unknown_token_stands_for_are_refused_too(tmp_path: Path) -> None:
    talk = Conversation(small_speaker.write(tmp_path / "speaker", alphabet="abc", unknown=True))
    with pytest.raises(UserError, match=r"does not know 'é' \(U\+00E9\): write the line without it"):
        talk.say("cabé")
    talk.say("cab")
    talk.say("abc")
    assert talk.text == "cababc"  # this alphabet has no line end to put between


def test_letters_of_several_bytes_come_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens of a byte-level tokenizer cut letters; what is shown never does, and nothing is lost."""
    talk = Conversation(small_speaker.write(tmp_path / "speaker"))
    talk.trained = talk.trained._replace(tokenizer=tokenizers.byte_pairs(["x"], 300))
    talk.tokens = [0]
    ids = talk.trained.tokenizer.encode("日本")
    monkeypatch.setattr("pipeline.apps.console.conversation.stream", lambda *_, **__: iter(torch.tensor([[id] for id in ids])))
    pieces = list(talk.answer())
    assert len(pieces) == 6 and [piece for piece in pieces if piece] == ["日", "本"]
