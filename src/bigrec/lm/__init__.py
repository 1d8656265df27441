"""The language model: loading, fine-tuning, generation and embedding."""
