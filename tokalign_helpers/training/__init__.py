"""How the adapters in ``data/adapters`` were made."""
