"""The one kind of error that is meant for a person."""


class InputError(ValueError):
    """Something a person gave (a parameter, a file, a mirror) cannot be used.

    The text is one line for that person: what is wrong, where, and what is allowed. Every stage
    prints it without a traceback and exits with a non-zero status; see `cnnpipe.system.command`.
    """
