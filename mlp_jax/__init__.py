"""The multilayer perceptron in JAX, with a backward pass written by hand.

The network and its gradient: `Layer`, `Model`, `init_params`, `feedforward`, `loss`, `backprop`, activations, costs.
Checking a gradient: `compare_gradients`, `compare_rules`, `numerical_gradient`; more of it in `mlp_jax.gradients`.
Data: `Examples`, `Dataset`, `load_dataset`. Training: `fit`, `epochs`, `fit_population`, `Plan`, `train_epoch`.

    >>> import jax, mlp_jax
    >>> data = mlp_jax.load_dataset("mnist")
    >>> state = mlp_jax.fit(mlp_jax.init_params(jax.random.key(0)), data, epochs=3)
    >>> round(mlp_jax.evaluate(state.params, data.test, mlp_jax.Model()).score, 2)
    0.92

The public names stand in `__init__.pyi`. Each is imported when it is first used, because importing JAX takes a second
that `mlp-jax --help` need not wait for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
