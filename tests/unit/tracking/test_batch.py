"""Events -> what MLflow is told."""

import pytest

from pipeline.tracking import batch

BEGIN = {
    "event": "begin",
    "time": 1000.5,
    "stage": "train",
    "target": "shakespeare",
    "command": "python -m pipeline train shakespeare",
    "pid": 1,
    "host": "box",
    "user": "ada",
    "python": "3.11.7",
    "versions": {"torch": "2.13.0", "quintet": None},
    "git": {"commit": "c0ffee", "dirty": True},
    "runner": "dvc",
    "dvc": {"stage": "train@shakespeare"},
    "parameters": {
        "seed": 1,
        "models.shakespeare.family": "transformer",
        "models.shakespeare.training": {"learning_rate": 0.004, "betas": [0.9, 0.99], "epochs": None, "fused": True},
    },
}
RUN = {"event": "run", "time": 1001.0, "training_key": "abcdef123456"}
ABOUT = batch.Head("train", "shakespeare", "abcdef123456", 1000500)


def test_head_waits_for_the_run():
    assert batch.head([BEGIN]) is None
    assert batch.head([BEGIN, RUN]) == ABOUT
    assert ABOUT.run_name == "shakespeare-abcdef"


def test_a_point_of_a_sweep_is_a_run_of_its_own():
    head = batch.head([{**BEGIN, "experiment": "widths-12"}, RUN])
    assert head and (head.training_key, head.sweep, head.run_name) == ("abcdef123456@widths-12", "widths", "widths-12 shakespeare")
    assert batch.translate(head, [RUN]).tags["parent_key"] == batch.parent_key("widths")
    assert batch.head([{**BEGIN, "experiment": "bold-mule"}, RUN]) == ABOUT


def test_parameters_are_flat_and_without_the_model():
    found = batch.translate(ABOUT, [BEGIN]).parameters
    assert found == {
        "seed": "1",
        "family": "transformer",
        "training.learning_rate": "0.004",
        "training.betas": "0.9, 0.99",
        "training.fused": "true",
    }


def test_origin_becomes_tags():
    tags = batch.translate(ABOUT, [BEGIN, RUN]).tags
    assert tags["git.commit"] == tags["mlflow.source.git.commit"] == "c0ffee" and tags["git.dirty"] == "true"
    assert (tags["runner"], tags["host"], tags["dvc.stage"]) == ("dvc", "box", "train@shakespeare")
    assert tags["version.torch"] == "2.13.0" and "version.quintet" not in tags
    assert tags["training_key"] == "abcdef123456" and tags["mlflow.source.name"] == BEGIN["command"]


def test_metrics_keep_step_and_time():
    events = [{"event": "metrics", "time": 2.5, "step": 10, "values": {"train/loss": 3.0, "train/tokens": 7680.0}}]
    assert batch.translate(ABOUT, events).points == [("train/loss", 10, 3.0, 2500), ("train/tokens", 10, 7680.0, 2500)]

    assert "mlflow.source.name" not in batch.translate(ABOUT, [{**BEGIN, "stage": "evaluate"}]).tags


def test_training_data_come_first():
    events = [
        {"event": "dataset", "time": 2.5, "name": s, "digest": "d", "source": "file", "split": s, "counts": {}}
        for s in ("test", "train", "validation")
    ]
    assert [dataset["split"] for dataset in batch.translate(ABOUT, events).datasets] == ["train", "test", "validation"]


@pytest.mark.parametrize(
    ("stage", "values", "expected"),
    [
        ("train", {"test": {"loss": 1.0}, "parameters": 760000}, {"trained.parameters": 760000}),
        (
            "quantize",
            {"quantized": {"bytes": 1, "weights": 5, "weight_snr_db": 13.23456789}},
            {"packed.bytes": 1, "packed.weight_snr_db": 13.2346},
        ),
        ("convert", {"onnx": {"kl_divergence": 1.25e-9}}, {"onnx.kl_divergence": 1.25e-9}),
        (
            "evaluate",
            {
                "float": {"loss": 1.5, "by": {"+": 1}},
                "quantized": {"loss": 2, "note": "text", "ok": True},
                "baselines": {"bigram": {"loss": 3}},
                "onnx": {"loss": 2},
            },
            {"float/loss": 1.5, "quantized/loss": 2, "quantized/ok": 1},
        ),
    ],
)
def test_main_figures_of_a_stage(stage, values, expected):
    assert dict(batch.figures(stage, values)) == expected


@pytest.mark.parametrize(("status", "expected"), [("finished", "FINISHED"), ("failed", "FAILED"), ("stopped", "KILLED")])
def test_only_the_training_ends_the_run(status, expected):
    end = [{"event": "end", "time": 5.0, "status": status, "reason": ""}]
    assert batch.translate(ABOUT, end).ended == (expected, 5000)
    assert batch.translate(ABOUT._replace(stage="evaluate"), end).ended is None
