"""The one exception that means "the user can mend this"."""

LONGEST = 1000


class UserError(Exception):
    """A mistake of the user's: the command line prints its one sentence and exits with code 2, without a trace.

    What a sentence quotes from a file may be anything: control characters are spelled, and a sentence that is too long loses its middle.
    """

    def __init__(self, sentence: str) -> None:
        plain = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in sentence)
        super().__init__(plain if len(plain) <= LONGEST else f"{plain[: LONGEST // 2]} [...] {plain[-LONGEST // 2 :]}")
