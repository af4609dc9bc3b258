"""Many trainings with settings that Optuna chooses, compared by their validation."""
