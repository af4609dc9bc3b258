"""What a type checker must see of an installed sidrec; .ci/run gives it to mypy."""

import sidrec

run: sidrec.TrainedRun = sidrec.load("runs/demo")
text: str = run.recommend_rows([[1]])  # type: ignore[assignment]  # unused, if it is Any
answer: sidrec.Answer = run.recommend(items=["lamp-12"], k=5)
answers: list[sidrec.Answer] = run.recommend(histories=[["lamp-12"], [3]])
wrong: int = run.recommend(user=42)  # type: ignore[assignment]
run.recommend([[1]])  # type: ignore[call-overload]
run.recommend(items=[1], no_such_option=5)  # type: ignore[call-overload]
