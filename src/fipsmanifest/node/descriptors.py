"""Standard input, output and error: the parent of a program may have closed them."""

import os

_STANDARD = (0, 1, 2)


def fill() -> None:
    """Open /dev/null in place of standard descriptors that are closed, before anything else is opened.

    The next file that is opened would get such a number, and what is meant for a terminal would be written into it.
    """
    for number in _STANDARD:
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is taken (open(2)): this one, as those below are open by now.
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
