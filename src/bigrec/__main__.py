"""``bigrec``, ``python -m bigrec``, and what ``accelerate launch -m bigrec`` starts."""

import signal
import sys

from bigrec.storage import interrupts


def main() -> None:
    """Run the command. Ctrl-C ends it with 130, also while it is imported."""
    with interrupts.watched():
        try:
            from bigrec import cli  # noqa: PLC0415 - takes a second

            cli.main()
        except BaseException as error:
            code = error.code if isinstance(error, SystemExit) else None
            if not interrupts.requested() or code == interrupts.EXIT_CODE:
                raise
            sys.stderr.write("Stopped.\n")
            sys.exit(interrupts.EXIT_CODE)
        finally:
            # The interpreter shuts down: Ctrl-C has nothing to save and needs no traceback.
            if callable(signal.getsignal(signal.SIGINT)):
                signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    main()
