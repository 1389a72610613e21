"""What the other rooms stand on: checks of input, files written whole, statistics, packaged assets."""
