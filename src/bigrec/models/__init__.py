"""Statistics of the interactions that rank items by themselves or help a language model to."""
