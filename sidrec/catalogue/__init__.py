"""Codes ↔ items: unique IDs, the two-way map and its files, titles, and the trie."""
