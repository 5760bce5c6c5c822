"""How long the package takes, beside what people would write or pick instead.

    python scripts/benchmark.py epoch --readme scripts/README.md --figure epoch.png
    python scripts/benchmark.py epoch --sizes 784 2048 2048 10 --batch-size 512 --examples 6144 --peers mlp_jax numpy
    python scripts/benchmark.py population --readme scripts/README.md
    python scripts/benchmark.py gradients --rounds 9 --out gradients.json
    python scripts/benchmark.py scaling --figure scaling.png
    python scripts/benchmark.py startup --out startup.json
    python scripts/benchmark.py checkpoints --rounds 15
    python scripts/benchmark.py stream --scratch /var/tmp --out stream.json
    python scripts/benchmark.py page --rounds 100
    python scripts/benchmark.py tables --readme scripts/README.md

Each is a program of its own, scripts/benchmarks/NAME.py, which this one starts; NAME --help lists its arguments.
Contestants take turns, so that a machine whose speed drifts drifts for all of them. The first call of each, which
compiles or warms up, is not counted. Other packages take part if they are installed: pip install -e '.[bench]'.
"""

import os
import sys
from pathlib import Path

NAMES = ("epoch", "population", "gradients", "scaling", "startup", "checkpoints", "stream", "page", "tables")

if __name__ == "__main__":
    name, *arguments = sys.argv[1:] or [""]
    if name in NAMES:
        program = Path(__file__).with_name("benchmarks") / f"{name}.py"
        os.execv(sys.executable, [sys.executable, str(program), *arguments])
    if name in ("-h", "--help"):
        print(__doc__)
    else:
        print(f"benchmark.py: {name or 'nothing'} is asked for: expected one of {', '.join(NAMES)}", file=sys.stderr)
        sys.exit(2)
