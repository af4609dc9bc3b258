"""The catalogue as a trie over sorted semantic IDs."""
