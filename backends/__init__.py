"""Back ends: anomaly scores of clips from their embeddings and those of the training clips."""
