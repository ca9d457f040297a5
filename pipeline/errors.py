"""The one exception that means "the user can mend this"."""


class UserError(Exception):
    """A mistake of the user's: the command line prints its one sentence and exits with code 2, without a trace."""
