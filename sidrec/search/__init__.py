"""From histories to items: the trie-constrained beam search, and exact ranking."""
