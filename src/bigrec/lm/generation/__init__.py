"""Generation of texts for prompts: the protocol and its backends."""
