"""What the searches for a learning rate share: their batches, losses that arrive later, and putting everything back."""
