"""The names that a notebook's cells use, for its set-up cell to import in one line."""

import numpy as np
import pandas as pd
import torch

import tokalign_helpers as ta
from tokalign_helpers.course import plots, widgets

__all__ = ["np", "pd", "plots", "ta", "torch", "widgets"]
