"""The claims of the lessons, each one run: a module for each, with the same three functions.

`measure` returns a NamedTuple of numbers and is pure; `judge(measured)` says in a Finding what they mean for the claim;
`draw(measured)` makes the figure. The module's docstring states the claim, its source and what would refute it.
"""

from typing import Literal, NamedTuple


class Experiment(NamedTuple):
    """What a claim is, and what it is tried on.

    claim: in a line. source: where it is made.
    on: what `measure` takes: a Subject, which is trained "networks"; the "data" alone, a Dataset; or "nothing".
    """

    claim: str
    source: str
    on: Literal["networks", "data", "nothing"]


EXPERIMENTS = {
    "accuracy": Experiment("784-16-16-10 gets about 96 %, tweaks of the hidden layers 98 %", "lesson 2", "data"),
    "shuffled-labels": Experiment(
        "shuffled labels are learned by heart, slowly and almost in a line; true ones fast", "lesson 2", "data"
    ),
    "minima": Experiment("the local minima that training finds are of about equal quality", "lesson 2", "data"),
    "descent": Experiment(
        "mini-batches stumble downhill in quick steps, full descent walks straight and slowly", "lesson 3", "data"
    ),
    "gradient-size": Experiment(
        "deep networks learn slowly with sigmoids and more easily with ReLU", "lesson 1", "data"
    ),
    "first-layer": Experiment(
        "the second layer looks for almost random, loose patterns, and not for edges", "lesson 2", "networks"
    ),
    "noise": Experiment("a random image gets a confident nonsense answer", "lesson 2", "networks"),
    "mistakes": Experiment("look at what it gets wrong, and you forgive it a little", "lesson 2", "networks"),
    "batch-angle": Experiment("a mini-batch gives a good approximation of the gradient", "lesson 3", "networks"),
    "maximizing-input": Experiment("a network that recognises digits cannot draw them", "lesson 2", "networks"),
    "one-example": Experiment(
        "an example wants most of the weights from bright neurons, and of activations behind strong weights",
        "lesson 3",
        "networks",
    ),
    "sensitivity": Experiment(
        "each component of the gradient says how much the cost answers to its weight", "lessons 2 and 3", "networks"
    ),
    "suggested": Experiment("going back by suggested activations is backpropagation", "the article", "networks"),
    "hand-set": Experiment(
        "weights set by hand pick up an edge, and a bias of -10 keeps the neuron quiet", "lesson 1", "data"
    ),
    "valley": Experiment(
        "steps proportional to the slope find a local minimum; which one depends on the start", "lesson 2", "nothing"
    ),
    "chain": Experiment(
        "a product of factors says how the cost answers to a weight: the chain rule", "lesson 4", "nothing"
    ),
}
"""What there is to run, by name. The longest to run come first."""
