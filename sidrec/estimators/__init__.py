"""The tokenizers with scikit-learn's habits."""
