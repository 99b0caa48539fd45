"""What an operator can run on the domain."""
