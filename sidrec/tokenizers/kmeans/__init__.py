"""k-means, its balanced form, and the tokenizers made of it."""
