"""bigrec makes a language model recommend real items."""

__version__ = "0.1.0"
