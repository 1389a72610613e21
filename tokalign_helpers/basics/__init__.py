"""What the other rooms build on: checks of input, files written whole, statistics, packaged assets."""
