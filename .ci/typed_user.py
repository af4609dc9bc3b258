"""What a type checker must see of an installed sidrec; .ci/run gives it to mypy."""

import sidrec

run: sidrec.TrainedRun = sidrec.load("runs/demo")
text: str = run.recommend([[1]])  # type: ignore[assignment]  # unused, if it is Any
