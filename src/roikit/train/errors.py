"""The error of the training package: a message for the person at the keyboard, without a traceback."""


class RunError(ValueError):
    """Something the user gave (a path, a configuration, a file) cannot be used; says what, where and what to do.

    The command line prints it as one line and ends with exit code 2.
    """
