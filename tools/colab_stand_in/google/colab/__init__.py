"""A stand-in for the module by which the set-up cell recognizes Colab."""
