"""Event log first, MLflow as its sink.

A stage writes every volatile fact (clock, host, progress, figures) as one line of JSON to its event log, which is the truth. A child
process follows the log and brings it into MLflow: one run a model and training key. So `import mlflow` never costs a stage its time, and
a store that is slow, locked or down never changes a result: what did not arrive is replayed by `python -m pipeline sync`.

    events.py    the log: what a stage calls, and the reader
    origin.py    what is volatile about a run: commit, versions, host, runner
    system.py    CPU and memory of a training, sampled into the log
    follower.py  the child process, as the stage sees it: start, wait for a bounded time
    location.py  where the store is
    batch.py     events -> MLflow's metrics, parameters, tags, inputs and artifacts (a pure function)
    store.py     the MLflow store (mlflow is imported here only)
    sink.py      one log's way into its run: what is new, once, with retries
    view.py      which columns the UI's table of runs shows
    pictures.py  curves of published CSV files as PNG
"""

from pipeline.tracking.events import EventLog, open_log

__all__ = ["EventLog", "open_log"]
