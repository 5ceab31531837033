"""Long runs of kills: `make soak`; a short form of each in `make test`."""
