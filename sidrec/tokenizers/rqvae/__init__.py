"""RQ-VAE: an autoencoder whose bottleneck is a sum of codewords."""
