"""Where the figures of trainings go besides `metrics.jsonl`: TensorBoard, MLflow, W&B."""
