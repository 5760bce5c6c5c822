"""Networks as estimators of scikit-learn: to predict classes or numbers from the columns of a table.

They take the place of `sklearn.neural_network`, with its names where the meaning is the same, and train on this
package's engine: on an accelerator if there is one, with weights of classes and of samples, and with many networks at
once whose answers are averaged. `pip install 'mlp_jax[sklearn]'` installs scikit-learn beside the package.

    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> flowers = MLPClassifier(learning_rate_init=0.01, max_iter=500, random_state=0).fit(X, y)
    >>> bool(flowers.score(X, y) > 0.95)
    True
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import Any, Literal, NamedTuple, cast

import jax
import numpy as np
from jaxtyping import Float, Integer
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from mlp_jax import activations
from mlp_jax.costs import Cost, cross_entropy
from mlp_jax.data import Dataset, Examples
from mlp_jax.network import Layer, Model, Params
from mlp_jax.programs import keep_programs
from mlp_jax.scaling import Scaling, robust_scaling, standard_scaling
from mlp_jax.training import DivergenceError, Plan, TrainState, make_optimizer, start_population
from mlp_jax.training.committee import BEST, Chosen, outputs_of_members, varied
from mlp_jax.training.loop import run_epochs

BATCH = 200
"""Examples in a mini-batch with batch_size="auto", or all if they are fewer."""
TINY = np.finfo(np.float32).tiny

half_quadratic = Cost(lambda a, y: 0.5 * ((a - y) ** 2).sum(-1), lambda a, y: a - y)
"""sum_j (a_j - y_j)^2 / 2, as scikit-learn has it: then its learning rates and its alpha mean the same here."""


@dataclass(frozen=True)
class _Table:
    """Examples as they are learned: scaled, in the estimator's dtype, without those of weight 0.

    given: each row and its targets as they were given.
    """

    given: Float[np.ndarray, "n columns"]
    inputs: Float[np.ndarray, "n n_in"]
    targets: np.ndarray
    weights: Float[np.ndarray, " n"]

    def rows(self, rows: Integer[np.ndarray, " some"]) -> Examples:
        return Examples(self.inputs[rows], self.targets[rows], self.weights[rows])


class _Trained(NamedTuple):
    """Members that have been trained with some of the rows.

    numbers: theirs, but of those that diverged. state: of each. lowest: their lowest cost. curve: the mean cost of each
    epoch. ended: whether all stopped before the last epoch.
    """

    numbers: np.ndarray
    state: TrainState
    lowest: Float[np.ndarray, " members"]
    curve: list[float]
    ended: bool


class _MLP(BaseEstimator):
    """What both estimators have in common."""

    n_features_in_: int
    _n_out: int
    _numeric: bool
    """Whether targets are numbers and not classes."""
    _model: Callable[[], Model]
    _targets: Callable[[np.ndarray, bool, np.ndarray], np.ndarray]
    """Targets in the form that is learned of, checked. Arguments: y, whether it is the first time, weights."""
    _class_weights: Callable[[np.ndarray, np.ndarray], Any]
    _settle_targets: Callable[[np.ndarray, np.ndarray], None]
    _scaled_targets: Callable[[np.ndarray], np.ndarray]

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str = "relu",
        *,
        n_members: int = 1,
        vary: bool = False,
        scaling: Literal["standard", "robust"] | None = "standard",
        optimizer: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate_init: float = 0.001,
        max_iter: int = 200,
        tol: float = 0.0001,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: bool = False,
        dtype: Literal["float32", "float64"] = "float32",
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.n_members = n_members
        self.vary = vary
        self.scaling = scaling
        self.optimizer = optimizer
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.dtype = dtype

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train on the rows of X, (n, columns), and what is wanted of them.

        y: (n,), or (n, outputs) for several numbers or labels.
        sample_weight: (n,), how much each row counts, 0 or more; a weight of 2 is the row twice. All the same if None.

        Raises ValueError or TypeError for what cannot be learned from: missing values, text, sparse matrices. Warns of
        training that `max_iter` ended before the cost stopped falling.
        """
        self._check_settings()
        on = self.warm_start and hasattr(self, "params_")
        X, targets, weights = self._checked(X, y, sample_weight, reset=not on, first=not on)
        with self._precision():
            table = self._table(X, targets, weights, first=not on)
            self._train(table, self._initial(table) if not on else self._params(), self.max_iter, stop=True)
        return self

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any) -> Any:
        self._check_settings()
        on = hasattr(self, "params_")
        X, targets, weights = self._checked(X, y, sample_weight, reset=not on, first=not on)
        with self._precision():
            table = self._table(X, targets, weights, first=not on)
            start = getattr(self, "_state", None) or (self._initial(table) if not on else self._params())
            self._train(table, start, 1, stop=False)
        return self

    def _train(self, table: _Table, start: Params | TrainState, epochs: int, stop: bool) -> None:
        """Train, until stopped or for all epochs. start: parameters, or the state that training goes on from."""
        random = check_random_state(self.random_state)
        members, early = len(jax.tree.leaves(start)[0]), stop and self.early_stopping
        every = np.arange(len(table.inputs))
        parts = [(every, every[:1])] if not early else self._held_out(table, random, 1 if self.vary else members)
        trained = []
        for number, (kept, out) in enumerate(parts):
            numbers = np.arange(number, members, len(parts))
            mine = jax.tree.map(itemgetter(numbers), start)
            try:
                trained.append(self._train_part(table, kept, out, mine, epochs, random, stop, numbers))
            except DivergenceError:
                if number == len(parts) - 1 and not trained:
                    raise
        finite = sum(len(part.numbers) for part in trained)
        if finite < members:
            warnings.warn(
                f"{members - finite} of {members} members diverged and are left out: lower the learning rate",
                ConvergenceWarning,
                stacklevel=3,
            )
        ended = all(part.ended for part in trained)
        if stop and not ended and self.n_iter_no_change < self.max_iter:
            warnings.warn(
                f"the cost was still falling after {self.max_iter} epochs: raise max_iter, or the learning rate",
                ConvergenceWarning,
                stacklevel=3,
            )
        self._keep(trained, early, int(start.epoch[0]) if isinstance(start, TrainState) else 0)

    def _train_part(
        self,
        table: _Table,
        kept: np.ndarray,
        out: np.ndarray,
        start: Params | TrainState,
        epochs: int,
        random: np.random.RandomState,
        stop: bool,
        numbers: np.ndarray,
    ) -> _Trained:
        """Train the members of these numbers with the rows `kept`, and validate them with the rows `out`."""
        members, early = len(jax.tree.leaves(start)[0]), stop and self.early_stopping
        dataset = Dataset(table.rows(kept), table.rows(out), n_out=self._n_out)
        batch_size = min(len(kept), BATCH if self.batch_size == "auto" else int(self.batch_size))
        decay = self.alpha * len(kept) / (batch_size * dataset.train.weights.sum())  # alpha is for a batch's sum
        optimizer = make_optimizer(self.optimizer, self.learning_rate_init, weight_decay=decay)
        if isinstance(start, TrainState):
            state, before = start, int(start.epoch[0])
        else:
            rates = varied(members, self.learning_rate_init, decay, random) if self.vary else {}
            state, before = start_population(start, optimizer, rates), 0
        plan = Plan(self._model(), optimizer, batch_size)
        chosen, active = Chosen(members), np.ones(members, bool)
        best, lowest, stale = np.full(members, np.inf), np.full(members, np.inf), np.zeros(members, int)
        curve: list[float] = []
        seed = random.randint(2**31)
        for reached, metrics in run_epochs(state, dataset, plan, before + epochs, seed, progress=False):
            curve.append(float(np.mean(metrics.loss[~np.isnan(metrics.loss)])))
            watched = metrics.test_loss if early else metrics.loss
            chosen.take(active & (watched < lowest if early else ~np.isnan(watched)), reached)
            lowest = np.fmin(lowest, watched)
            stale = np.where(watched <= best - self.tol, 0, stale + 1)
            best = np.fmin(best, watched)
            active &= (stale <= self.n_iter_no_change) & ~np.isnan(watched)
            if self.verbose:
                print(f"epoch {metrics.epoch}: cost {curve[-1]:.6f}" + f", held out {watched.min():.6f}" * early)
            if stop and not active.any():
                break
        finite = chosen.members
        return _Trained(numbers[finite], chosen.kept(), lowest[finite], curve, ended=not active.any())

    def _keep(self, trained: Sequence[_Trained], early: bool, before: int) -> None:
        state: TrainState = jax.tree.map(lambda *leaves: np.concatenate(leaves), *(part.state for part in trained))
        lowest, longest = np.concatenate([part.lowest for part in trained]), max(len(part.curve) for part in trained)
        order = np.argsort(np.concatenate([part.numbers for part in trained]))
        if self.vary:
            order = np.argsort(lowest, kind="stable")[: math.ceil(self.n_members / BEST)]
        state, lowest = jax.tree.map(itemgetter(order), state), lowest[order]
        curve = [  # a part that has stopped stays where it was
            float(np.mean([part.curve[min(epoch, len(part.curve) - 1)] for part in trained]))
            for epoch in range(longest)
        ]
        state = state._replace(epoch=np.full_like(state.epoch, before + longest))
        self._state, self.params_ = (None if early or self.vary else state), state.params
        self.loss_curve_ = curve if before == 0 else [*self.loss_curve_, *curve]
        self.loss_, self.n_iter_ = curve[-1], before + longest
        self.validation_loss_ = lowest if early else None
        self.n_layers_, self.n_outputs_ = len(state.params) + 1, self._n_out

    def _check_settings(self) -> None:
        """Raises ValueError for settings that the engine does not refuse by itself."""
        sizes = np.ravel(np.asarray(self.hidden_layer_sizes, object)).tolist()
        for name, fits, expected in (
            ("hidden_layer_sizes", all(_is_count(size) for size in sizes), "1 or more neurons in each layer"),
            ("activation", self.activation in ACTIVATIONS, " or ".join(ACTIVATIONS)),
            ("n_members", _is_count(self.n_members), "1 network or more"),
            ("scaling", self.scaling in (None, *SCALINGS), " or ".join(map(repr, (None, *SCALINGS)))),
            ("batch_size", self.batch_size == "auto" or _is_count(self.batch_size), "'auto', or 1 or more"),
            ("max_iter", _is_count(self.max_iter), "1 epoch or more"),
            ("n_iter_no_change", _is_count(self.n_iter_no_change), "1 epoch or more"),
            ("validation_fraction", 0 < self.validation_fraction < 1, "a number above 0 and below 1"),
            ("dtype", str(np.dtype(self.dtype)) in ("float32", "float64"), "'float32' or 'float64'"),
        ):
            if not fits:
                raise ValueError(f"{name} is {getattr(self, name)!r}: expected {expected}")
        if self.vary and not self.early_stopping:
            raise ValueError("vary chooses members by examples held out: set early_stopping=True, or leave it out")

    def _precision(self) -> AbstractContextManager[Any]:
        """Within it, JAX has the estimator's dtype; and keeps compiled programs from the first time on."""
        if jax.config.values["jax_compilation_cache_dir"] is None and jax.config.values["jax_enable_compilation_cache"]:
            keep_programs(wanted=True)
        return jax.enable_x64(True) if np.dtype(self.dtype) == np.float64 else nullcontext()

    def _checked(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool, first: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows, targets and weights, of which some are above 0."""
        check_columns(self, X)
        X, y = validate_data(self, X, y, reset=reset, dtype=np.float64, multi_output=True, y_numeric=self._numeric)
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if not weights.any():
            raise ValueError("the sample weights are all 0: no row would count")
        targets = self._targets(y, first, weights)
        weights = weights * self._class_weights(targets, weights)
        some = weights > 0
        return X[some], targets[some], weights[some]

    def _table(self, X: np.ndarray, targets: np.ndarray, weights: np.ndarray, *, first: bool) -> _Table:
        if first:
            columns = SCALINGS[self.scaling](X, weights) if self.scaling else None
            self.scaling_: Scaling | None = columns
            self._settle_targets(targets, weights)
        given = np.column_stack([X, targets]) + 0.0  # -0.0 becomes 0.0
        return _Table(given, self._scaled(X), self._scaled_targets(targets), weights)

    def _scaled(self, X: np.ndarray) -> np.ndarray:
        return (X if self.scaling_ is None else self.scaling_(X)).astype(self.dtype)

    def _params(self) -> Params:
        """The members' parameters, as many as `n_members`: those that were not kept begin as the others do."""
        every = np.arange(self.n_members) % len(self.params_[0].weights)
        return jax.tree.map(lambda leaf: leaf[every], self.params_)

    def _initial(self, table: _Table) -> Params:
        """Random parameters of all members, drawn by NumPy: JAX would compile a program for every shape."""
        hidden = np.ravel(np.asarray(self.hidden_layer_sizes, int)).tolist()
        sizes = [table.inputs.shape[1], *hidden, self._n_out]
        random = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
        widths = np.exp(random.uniform(-1, 1, self.n_members) * np.log(2) * self.vary)[:, None, None]
        layers, layer = [], cast(Any, Layer)
        factor = 2 if ACTIVATIONS[self.activation] == activations.sigmoid else 6
        for n_in, n_out in pairwise(sizes):
            bound = widths * np.sqrt(factor / (n_in + n_out))  # Glorot and Bengio 2010, as scikit-learn has it
            shape = (self.n_members, n_out, n_in)
            weights, biases = (bound * random.uniform(-1, 1, some) for some in (shape, (*shape[:2], 1)))
            layers.append(layer(weights.astype(self.dtype), biases[..., 0].astype(self.dtype)))
        return tuple(layers)

    def _held_out(self, table: _Table, random: np.random.RandomState, most: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Rows to train with and rows to validate with, `most` times or as often as there are others to hold out.

        Held out are rows of each class in proportion. Equal rows stay together: a row that is there twice is never in
        both, and a weight of 2 is the row twice.
        """
        classes = table.targets if table.targets.ndim == 1 else np.zeros(len(table.targets), int)
        as_bytes = table.given.view(np.dtype((np.void, table.given[0].nbytes)))
        _, group = np.unique(as_bytes, return_inverse=True)
        group, weight = group.ravel(), np.bincount(group.ravel(), table.weights)
        class_of = np.zeros(len(weight), int)
        class_of[group] = classes
        part = np.full(len(weight), -1)  # in which one it is held out
        count = min(most, max(1, int(1 / self.validation_fraction)))
        for one in np.unique(class_of):
            mine = random.permutation(np.flatnonzero(class_of == one))
            total = np.cumsum(weight[mine])
            filled = total / (self.validation_fraction * total[-1] * (1 + 1e-9))  # 1 at the end of the first part
            place = np.ceil(filled).astype(int) - 1
            if np.ptp(place) == 0:
                place[-1] = count  # of each class there is a row to train with
            part[mine] = np.where(place < count, place, -1)
        parts = [(part != number, part == number) for number in range(count)]
        parts = [(kept, out) for kept, out in parts if out.any()]
        if not parts:
            largest = np.flatnonzero(class_of == np.bincount(class_of).argmax())
            if len(largest) < 2:
                raise ValueError(
                    f"there are {len(table.inputs)} rows, n_samples={len(table.inputs)}, too few to hold "
                    "some out: set early_stopping=False"
                )
            out = np.arange(len(weight)) == largest[0]
            parts = [(~out, out)]
        return [(np.flatnonzero(kept[group]), np.flatnonzero(out[group])) for kept, out in parts]

    def _outputs(self, X: Any) -> Float[np.ndarray, "members n n_out"]:
        """The outputs of each member, in float64."""
        check_is_fitted(self, "params_")
        check_columns(self, X)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        with self._precision():
            return outputs_of_members(self.params_, self._scaled(X), self._model()).astype(np.float64)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class MLPClassifier(ClassifierMixin, _MLP):
    """A network that predicts classes, or several labels at once.

    hidden_layer_sizes: neurons of each hidden layer, one number or several.
    activation: of the hidden layers: relu, silu, tanh, logistic (or sigmoid), leaky_relu, identity.
    n_members: how many networks are trained at once; their probabilities are averaged. With `early_stopping` they take
        turns in what they hold out (Krogh and Vedelsby 1995), and those with the same rows are trained at once.
    vary: whether the members also differ in learning rate (up to 5 times more or less than `learning_rate_init`), decay
        (up to 100 times) and initial weights (up to 2 times), and only the best quarter on the examples held out, the
        same for all, is kept. Needs `early_stopping`.
    scaling: of the columns: "standard", to mean 0 and deviation 1; "robust", by median and quartiles, outliers bent
        to 3 at most; None, as they are.
    optimizer: adam, sgd, or another one that Optax has.
    alpha: L2 regularisation, in scikit-learn's units. 0 or more.
    batch_size: rows in a mini-batch; "auto" means 200, or all if they are fewer.
    learning_rate_init: above 0. It stays the same.
    max_iter: epochs at most. tol, n_iter_no_change: training ends when the cost has not fallen by `tol` in so many
        epochs: the training cost; or with `early_stopping` that of a fraction of the rows, `validation_fraction`,
        which are held out, and then the parameters of the best epoch are kept. Each member stops on its own.
    class_weight: for each class how much its rows count; "balanced": all classes the same.
    random_state: of the initial parameters, the order of the rows and those held out: a number, or as scikit-learn has.
    warm_start: whether `fit` begins with the parameters of the call before.
    verbose: whether each epoch prints a line.
    dtype: "float32", or "float64", which is slower and exact where float32 rounds.

    After `fit`: classes_, params_ (Layers with a leading axis of members), scaling_, loss_, loss_curve_, n_iter_,
    validation_loss_ (of each member), n_layers_, n_outputs_, n_features_in_, feature_names_in_.

    >>> import numpy as np
    >>> X, y = np.array([[0.0], [0.2], [0.8], [1.0]] * 5), np.array(["low", "low", "high", "high"] * 5)
    >>> model = MLPClassifier(max_iter=500, learning_rate_init=0.01, tol=1e-3, random_state=0).fit(X, y)
    >>> model.predict([[0.1], [0.9]]).tolist()
    ['low', 'high']
    >>> model.predict_proba([[0.1]]).shape
    (1, 2)
    """

    classes_: Any
    _numeric = False

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str = "relu",
        *,
        n_members: int = 1,
        vary: bool = False,
        scaling: Literal["standard", "robust"] | None = "standard",
        optimizer: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate_init: float = 0.001,
        max_iter: int = 200,
        tol: float = 0.0001,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: bool = False,
        dtype: Literal["float32", "float64"] = "float32",
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "class_weight", "__class__")}
        super().__init__(**given)
        self.class_weight = class_weight

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Any:
        """Train for one epoch on these rows, going on from earlier calls. The first one settles the scaling.

        classes: all that there will be, in the first call; those of `y` if not given.
        """
        if not hasattr(self, "params_"):
            self._classes = None if classes is None else np.unique(classes)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"the classes are {np.unique(classes)}, but those of the first call {self.classes_}")
        return self._partial_fit(X, y, sample_weight)

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row, (n,); of several labels 1 where the probability is above 1/2."""
        probabilities = self.predict_proba(X)
        if self._labels:
            return (probabilities > 0.5).astype(int)
        return self.classes_[np.argmax(probabilities, axis=1)]

    def predict_proba(self, X: Any) -> Float[np.ndarray, "n classes"]:
        """The probability of each class, in the order of `classes_`, averaged over the members."""
        mean = self._outputs(X).mean(axis=0)
        return mean if self._labels else mean / mean.sum(axis=1, keepdims=True)  # 1 to float64's rounding

    def predict_log_proba(self, X: Any) -> Float[np.ndarray, "n classes"]:
        """The logarithms of the probabilities."""
        return np.log(np.maximum(self.predict_proba(X), TINY))

    def _model(self) -> Model:
        output = activations.sigmoid if self._labels else activations.softmax
        return Model(ACTIVATIONS[self.activation], output, cross_entropy)

    def _targets(self, y: np.ndarray, first: bool, weights: np.ndarray) -> np.ndarray:
        """Numbers of classes, or 0 and 1 of labels."""
        check_classification_targets(y)
        labels = type_of_target(y) == "multilabel-indicator"
        if y.ndim == 2 and y.shape[1] > 1 and not labels:
            raise ValueError(
                f"y has {y.shape[1]} columns of classes: give one column, or labels of 0 and 1; "
                "sklearn.multioutput.MultiOutputClassifier takes one estimator for each column"
            )
        if first:
            self._labels = labels
        elif labels != self._labels:
            raise ValueError("y has labels and had classes before, or the other way round: fit another estimator")
        if labels:
            if first:
                self.classes_ = np.arange(y.shape[1])
            return y.astype(self.dtype)
        y = column_or_1d(y, warn=True)
        if first:
            given = getattr(self, "_classes", None)
            self.classes_ = LabelEncoder().fit(y[weights > 0]).classes_ if given is None else given
            if len(self.classes_) < 2:
                raise ValueError(f"y has only one class, {self.classes_[0]}: give rows of 2 or more")
        place = np.searchsorted(self.classes_, y)
        known = self.classes_[np.minimum(place, len(self.classes_) - 1)] == y
        if not known[weights > 0].all():
            raise ValueError(f"y has the class {y[~known & (weights > 0)][0]}: expected one of {self.classes_}")
        return np.where(known, place, 0)

    def _class_weights(self, targets: np.ndarray, weights: np.ndarray) -> Any:
        if self.class_weight is None:
            return 1.0
        if self._labels:
            raise ValueError("class_weight is for classes, and y has labels: give sample_weight, or leave it out")
        if isinstance(self.class_weight, str):
            if self.class_weight != "balanced":
                raise ValueError(f"class_weight is {self.class_weight!r}: expected 'balanced', None or a dictionary")
            totals = np.bincount(targets, weights, len(self.classes_))
            of_class = weights.sum() / (np.count_nonzero(totals) * np.where(totals > 0, totals, 1))
        else:
            given = dict(self.class_weight)
            of_class = np.array([given.pop(one, 1.0) for one in self.classes_.tolist()])
            if given:
                raise ValueError(f"class_weight has {', '.join(map(repr, given))}: expected classes of {self.classes_}")
        return of_class[targets]

    def _settle_targets(self, targets: np.ndarray, weights: np.ndarray) -> None:
        self._n_out = len(self.classes_)

    def _scaled_targets(self, targets: np.ndarray) -> np.ndarray:
        return targets

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, _MLP):
    """A network that predicts numbers, one or several. Its settings and attributes are those of `MLPClassifier`.

    The numbers are standardised for training and given back in their units; `loss_` is that of standardised ones.

    >>> import numpy as np
    >>> X = np.linspace(-1, 1, 50)[:, None]
    >>> settings = {"learning_rate_init": 0.01, "tol": 1e-3, "random_state": 0}
    >>> model = MLPRegressor(n_members=8, **settings).fit(X, 100 * X[:, 0] ** 2)
    >>> answer, spread = model.predict([[0.5]], return_std=True)
    >>> bool(abs(answer[0] - 25) < 5), spread.shape
    (True, (1,))
    """

    _numeric = True

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train for one epoch on these rows, going on from earlier calls. The first one settles the scaling."""
        return self._partial_fit(X, y, sample_weight)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """The numbers for each row, (n,) or (n, outputs): the mean of the members.

        return_std: whether to return beside them the standard deviation of the members' answers, which tells how far
            networks that learned the same disagree. It knows nothing of the noise in the data.
        """
        outputs = self._outputs(X)
        outputs = self.target_scaling_.undo(outputs)
        shape = outputs.shape[1:] if self._columns else outputs.shape[1]
        mean = outputs.mean(axis=0).reshape(shape)
        return (mean, outputs.std(axis=0).reshape(shape)) if return_std else mean

    def _model(self) -> Model:
        return Model(ACTIVATIONS[self.activation], activations.identity, half_quadratic)

    def _targets(self, y: np.ndarray, first: bool, weights: np.ndarray) -> np.ndarray:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if first:
            self._columns = y.ndim == 2
        targets = y.reshape(len(y), -1).astype(np.float64)
        if not first and targets.shape[1] != self._n_out:
            raise ValueError(f"y has {targets.shape[1]} columns: expected {self._n_out}, as before")
        return targets

    def _class_weights(self, targets: np.ndarray, weights: np.ndarray) -> Any:
        return 1.0

    def _settle_targets(self, targets: np.ndarray, weights: np.ndarray) -> None:
        self._n_out = targets.shape[1]
        self.target_scaling_ = standard_scaling(targets, weights)

    def _scaled_targets(self, targets: np.ndarray) -> np.ndarray:
        return self.target_scaling_(targets).astype(self.dtype)


ACTIVATIONS = {
    name: getattr(activations, name) for name in ("relu", "silu", "tanh", "sigmoid", "leaky_relu", "identity")
} | {"logistic": activations.sigmoid}
SCALINGS = {"standard": standard_scaling, "robust": robust_scaling}


def check_columns(estimator: Any, X: Any) -> None:
    """Raises TypeError for a sparse matrix and ValueError for columns of text: what to put before the estimator."""
    name = type(estimator).__name__
    if issparse(X):
        raise TypeError(
            f"X is a sparse matrix of shape {X.shape}, and {name} takes dense arrays: give X.toarray(), or put "
            "sklearn.decomposition.TruncatedSVD before it in a Pipeline"
        )
    if hasattr(X, "dtypes") and hasattr(X, "columns"):
        text = [str(column) for column in X.columns if not _is_numeric(X[column])]
    else:
        text = ["X"] if np.asarray(X).dtype.kind in "US" else []
    if text:
        shown = ", ".join(text[:5]) + ", ..." * (len(text) > 5)
        raise ValueError(
            f"{shown} has text, and {name} takes numbers: put sklearn.preprocessing.OneHotEncoder before it in a "
            "Pipeline, with sklearn.compose.make_column_transformer for some columns"
        )


def _is_numeric(column: Any) -> bool:
    try:
        np.asarray(column, np.float64)
    except (TypeError, ValueError):
        return False
    return True


def _is_count(number: Any) -> bool:
    return isinstance(number, int | np.integer) and bool(number >= 1)
