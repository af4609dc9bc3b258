"""New items in a trained recommender, and how well they are recommended."""
