"""Write ``likes.csv``: twenty people and who likes what, so that every pair of people likes one thing in common.

``python data/texts/make_likes.py``. After the idea of LIMIT (Weller et al. 2025): each thing is liked by exactly two
people, and each two people share exactly one thing, so that no small number of dimensions can rank all answers.
"""

import random
from itertools import combinations
from pathlib import Path

import pandas as pd

from tokalign_helpers.basics.files import write_text

PEOPLE = """
Ada Bruno Clara Dmitri Elena Farid Greta Hugo Irene Jonas Kira Luis Mona Nils Olga Pedro Quinn Rosa Stefan Tara
""".split()  # noqa: SIM905 — a list of words reads better so
THINGS = """
apples pears plums cherries grapes lemons melons peaches mangoes walnuts almonds chestnuts honey cinnamon ginger
garlic onions carrots spinach lentils olives mushrooms pumpkins noodles pancakes waffles porridge soup cheese
butter yoghurt chocolate marzipan liquorice coffee cocoa lemonade cider chess poker dominoes darts billiards
bowling tennis badminton cricket rugby hockey fencing archery judo rowing sailing surfing swimming diving skiing
skating sledging climbing hiking cycling camping fishing gardening knitting sewing weaving pottery carpentry
origami calligraphy painting drawing photography sculpture ballet opera jazz reggae tango polka violins cellos
flutes trumpets drums harps pianos guitars accordions bagpipes poetry novels comics crosswords riddles puzzles
magic puppets circuses museums castles lighthouses bridges windmills trains trams ferries balloons kites rockets
telescopes microscopes clocks maps globes stamps coins buttons marbles lanterns candles fireworks rainbows snow
thunder fog sunsets deserts glaciers volcanoes caves islands waterfalls meadows forests orchards roses tulips
daisies lilies orchids cacti ferns moss owls eagles swans penguins parrots sparrows cats dogs horses goats sheep
donkeys camels llamas otters beavers badgers foxes wolves bears seals dolphins whales turtles frogs newts snails
spiders beetles ants moths butterflies shells fossils crystals saunas hammocks umbrellas bicycles tractors
submarines canoes tents
""".split()  # noqa: SIM905 — a list of words reads better so


def likes(seed: int = 0) -> pd.DataFrame:
    """Give every pair of people one thing, drawn without repeats."""
    pairs = list(combinations(PEOPLE, 2))
    drawn = random.Random(seed).sample(THINGS, len(pairs))
    return pd.DataFrame([(thing, *pair) for thing, pair in zip(drawn, pairs, strict=True)], columns=["thing", "a", "b"])


if __name__ == "__main__":
    write_text(Path(__file__).parent / "likes.csv", likes().to_csv(index=False, lineterminator="\n"))
