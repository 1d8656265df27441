"""``python -m bigrec``, and what ``accelerate launch -m bigrec`` starts."""

from bigrec.cli import main

if __name__ == "__main__":
    main()
