"""Reading back what the stages measured, and the main figures of each model."""

import pytest

from pipeline import io, paths
from pipeline.errors import UserError
from pipeline.report import results, summary


def test_results_are_read_in_the_order_of_the_parameters(project, config):
    found = results.collect(config.models)
    assert [each.name for each in found] == list(config.models) == ["shakespeare", "calculator"]
    assert found[0].curve[1] == {"step": 40.0, "tokens": 10240.0, "train_loss": 1.5, "validation_loss": 1.525, "learning_rate": 0.1}
    assert found[0].samples == {"float": "ROMEO: <b>soft</b> & light", "quantized": "what yonder"}
    assert found[1].detail[0]["operator"] == "+" and found[1].matrices[1]["snr_db"] == ""


def test_exports_have_parity_and_quality(project):
    exports = results.read("shakespeare").exports
    assert list(exports) == ["huggingface", "model_directory", "onnx"]
    assert exports["onnx"]["loss"] == 1.56 and exports["onnx"]["max_logit_difference"] == 2.2e-6
    assert exports["onnx"]["bytes"] == 44576, "the export's own size, not the packed model's"
    assert "loss" not in exports["model_directory"]


@pytest.mark.parametrize("folder", [paths.METRICS, paths.PLOTS])
def test_results_of_a_model_that_is_gone_are_named_and_left_out(project, config, folder, capsys):
    (folder / "realnet").mkdir()
    assert [each.name for each in results.collect(config.models)] == list(config.models)
    assert "left out: realnet" in capsys.readouterr().err


@pytest.mark.parametrize("path", [paths.metrics("calculator", "convert"), paths.plot("calculator", "train"), paths.samples("calculator")])
def test_a_missing_file_is_named(project, config, path):
    path.unlink()
    with pytest.raises(UserError, match=f"{path} is missing"):
        results.collect(config.models)


def test_a_missing_section_is_named(project, config):
    path = paths.metrics("shakespeare", "evaluate")
    io.write_json(path, {name: section for name, section in io.read_json(path).items() if name != "quantized"})
    with pytest.raises(UserError, match=f"{path} has no 'quantized': run `python -m pipeline evaluate shakespeare` again"):
        results.collect(config.models)


def test_summary_is_flat_and_beats_the_strongest_baseline(project, config):
    rows = {name: summary.row(results.read(name), model) for name, model in config.models.items()}
    assert all(not isinstance(value, dict | list) for row in rows.values() for value in row.values())
    words, sums = rows["shakespeare"], rows["calculator"]
    assert (words["headline"], words["baseline"], words["baseline_value"]) == ("bits_per_byte", "bigram", 3.47)
    assert (sums["headline"], sums["baseline"], sums["baseline_value"]) == ("exact_match", "most_frequent_answer", 0.014)
    assert words["float_loss"] == 1.5 and words["quantized_loss"] == 1.56 and sums["quantized_exact_match"] == 0.998
    assert words["formats"] == "huggingface, onnx" and words["greedy_equal"] == 1.0
    assert (words["float_bytes"], words["quantized_bytes"], words["bits_per_weight_on_disk"]) == (3040000, 231000, 2.45)


def test_without_a_baseline_in_that_figure(project):
    assert summary.baseline({"bigram": {"loss": 2.0}}, "exact_match") == {"baseline": None, "baseline_value": None}
