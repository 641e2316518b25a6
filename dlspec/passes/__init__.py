"""What is done to a graph between elaboration and code generation."""
