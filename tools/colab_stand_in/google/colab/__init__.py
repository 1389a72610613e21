"""Stands in for the module by which the set-up cell knows Colab."""
