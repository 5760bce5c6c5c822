"""A network to make pages of."""

SIZES = (784, 16, 16, 10)
