"""Training: fine-tuning strategies, losses, optimisers, schedules and checkpoints."""
