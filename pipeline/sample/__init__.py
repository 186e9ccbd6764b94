"""The bundled sample: invented posts and notes (the TOML files here) and `make`, which turns them into X's file format."""
