"""dlspec's JAX backend: functions over trees of parameters, optax, `jax.jit`."""

from dlspec_jax.target import Target

__all__ = ["Target"]
