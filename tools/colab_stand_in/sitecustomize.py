"""Make a kernel look like Colab's: its module is loaded before the notebook begins."""

import google.colab  # noqa: F401
