"""Grade submitted notebooks: each answer in a confined process, each notebook under a supervisor of its own.

:mod:`.command` prints the table and holds nothing of a learner; it starts :mod:`.worker` with a clean environment. The
worker forks a supervisor for each notebook, which reads it (:mod:`.submission`) and runs its answers
(:mod:`.answering`); the kernel confines them (:mod:`.kernel`), and values cross as data (:mod:`.wire`).

Not covered: an answer that is copied, from a neighbour or from ``.solution()``; and an account whose own Python packages
hold secrets, because those an answer may read.
"""

NOT_JUDGED = "not judged"  # the verdict on a notebook, or a question, that could not be graded at all
VERDICTS = ("right", "wrong", "empty", "error", "time out", "refused", NOT_JUDGED)
