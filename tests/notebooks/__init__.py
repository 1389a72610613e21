"""The notebooks' net: run them, compare what they print, and prove that a wrong output turns the run red."""
