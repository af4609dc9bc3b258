"""Values that every room agrees on."""

NO_ITEM = -1  # fills histories up to S
