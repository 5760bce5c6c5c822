"""The multilayer perceptron in JAX, with a backward pass written by hand.

The public names stand in `__init__.pyi`. Each is imported when first used: importing JAX takes a second that
`mlp-jax --help` need not wait for.
"""

import sys
import types

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


class _Face(types.ModuleType):
    def __setattr__(self, name: str, value: object) -> None:
        # Importing mlp_jax.backprop, the module, makes Python bind it here; the function of that name stays in front.
        is_room = isinstance(value, types.ModuleType) and name in __all__
        super().__setattr__(name, getattr(value, name) if is_room else value)


sys.modules[__name__].__class__ = _Face
