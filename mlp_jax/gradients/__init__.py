"""What a backward pass can tell."""
