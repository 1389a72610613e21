"""What every notebook does first."""

import importlib.metadata

import numpy as np
import torch

from tokalign_helpers.basics.assets import default_model_path, is_ready
from tokalign_helpers.models.cache import embedding_cache_dir

WIDTH = 100  # characters in a line of output; a wider table breaks in the middle of its numbers


def setup(version: str) -> None:
    """Prepare a notebook: check the version, set how figures and tables look, fetch the model, print what is there.

    Parameters
    ----------
    version : str
        The version that the notebook was written for.

    Raises
    ------
    RuntimeError
        If another version is installed.
    AssetError
        If the model cannot be fetched.
    """
    import pandas as pd

    # Seaborn, and pandas with it, take a second to import.
    from tokalign_helpers.course.alt_text import describe_figures
    from tokalign_helpers.course.plots import use_style

    installed = importlib.metadata.version("tokalign-helpers")
    if installed != version:
        raise RuntimeError(f"this notebook is for tokalign-helpers {version}, but {installed} is installed")
    use_style()
    describe_figures()
    pd.set_option("display.width", WIDTH)
    np.set_printoptions(linewidth=WIDTH)
    torch.set_printoptions(linewidth=WIDTH)
    was_ready = is_ready()
    default_model_path()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    warm = any(embedding_cache_dir().glob("*.sqlite"))
    print(f"device      {device}")
    print(f"model       SmolLM2-135M-Instruct, {'from the cache' if was_ready else 'fetched just now'}")
    print(
        f"embeddings  {'some are cached from earlier runs' if warm else 'none are cached yet; the first run is slower'}"
    )
