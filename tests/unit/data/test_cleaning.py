"""Play Markdown to dialogue, and white space."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.cleaning import clean, normalize_whitespace, play_text
from pipeline.schema.data import Cleaning

PLAY = """# A Play

## ACT I

### SCENE I. A wood.

Before any speaker.

_Enter OBERON, with
his train_

**OBERON**\x20\x20
__\\[Advancing]_\x20\x20
Ill met by moonlight,  proud Titania.\x20\x20
_\\[Aside]_ 'Ladies,'\\--or so &amp; c.

*Sound a horn.*

He goes on.
_\\[To ROBIN]_\x20\x20
**ROSENCRANTZ: & GUILDENSTERN:**\x20\x20
[Within]_\x20\x20
A messenger?—Here.

**Silent**\x20\x20
_Exit_

_Burthen _\\[dispersedly, within_

1\\. A lively flourish.\x20\x20
2\\. Then, two Judges.

#### ACT II

**PUCK**
And _\\[Censorinus,]_ so.
"""

DIALOGUE = """OBERON:
Ill met by moonlight, proud Titania.
'Ladies,'--or so &c.
He goes on.

ROSENCRANTZ & GUILDENSTERN:
A messenger?--Here.

PUCK:
And so.
"""


def test_dialogue_remains_of_all_kinds_of_markup() -> None:
    assert play_text(PLAY) == DIALOGUE


def test_line_ends_of_windows_change_nothing() -> None:
    assert play_text(PLAY.replace("\n", "\r\n")) == DIALOGUE


def test_options_are_off_by_default_and_apply_in_order() -> None:
    assert clean(" A  B ", Cleaning()) == " A  B "
    assert clean("**A**\nTo  BE", Cleaning(play_markdown=True, lowercase=True)) == "a:\nto be\n"
    assert clean(" A\t B \r\n\r\n\r\n\r\nC", Cleaning(normalize_whitespace=True)) == "A B\n\nC\n"


@given(st.text(alphabet="ab \t\n\r\u3000", max_size=60))
def test_normalized_white_space_stays_as_it_is(text: str) -> None:
    once = normalize_whitespace(text)
    assert normalize_whitespace(once) == once
    assert once.split() == text.split()


@pytest.mark.parametrize("text", ["", "no speaker at all", "**A**\n_Exit_"])
def test_what_has_no_speech_becomes_nothing(text: str) -> None:
    assert play_text(text) == ""
