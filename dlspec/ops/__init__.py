"""The operations: one class each, with its shape rule, its gradient and its costs."""
