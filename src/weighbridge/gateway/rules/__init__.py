"""What admission and metering go by: the words, money, prices, limits and keys. Pure."""
