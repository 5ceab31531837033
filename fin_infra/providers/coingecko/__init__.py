"""CoinGecko: so far only its spelling of instruments, see `symbols`."""
