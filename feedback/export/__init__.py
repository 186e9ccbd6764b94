"""Dataset folders for training tools: layouts (one per config), folder writing, card and YAML files."""
