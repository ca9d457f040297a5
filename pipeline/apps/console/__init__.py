"""`python -m pipeline console`: talk to a language model, line by line, on a terminal or through a pipe."""

from pipeline.apps.console import commands
from pipeline.apps.console.conversation import Conversation
from pipeline.apps.console.screen import choose
from pipeline.apps.trained import find
from pipeline.errors import UserError


def run(named: str | None, as_float: bool) -> bool:
    """Talk until the input ends or `/quit`; whether every line could be done. Raises `UserError` where no model can be opened."""
    conversation = Conversation(find(named, "language", as_float))
    screen = choose(commands.completions())
    if screen.person:
        screen.note(f"{conversation.trained.directory}: {conversation.trained.describe()}. /help lists the commands.")
    refused = 0
    for line in screen.lines():
        try:
            if line.startswith("/"):
                screen.note(commands.obey(conversation, line))
            else:
                conversation.say(line)
                screen.show(conversation.answer())
        except commands.Leave:
            break
        except UserError as error:
            refused += 1
            screen.refuse(str(error))
    return refused == 0 or screen.person
