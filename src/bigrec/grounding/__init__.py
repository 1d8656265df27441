"""From generated texts to ranked items of the catalog."""
