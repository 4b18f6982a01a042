"""Training, testing and scoring, and where these jobs run."""
