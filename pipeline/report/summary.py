"""The main figures of each model as one flat row: report/summary.json, and the table that the command line prints."""

from collections.abc import Mapping
from typing import Any

from pipeline.report import figures
from pipeline.report.results import Results


def row(results: Results, model: Any) -> dict[str, Any]:
    """One model's row; `baseline_*` is the strongest thing that it has to beat in its headline figure."""
    float_, quantized = results.evaluate["float"], results.evaluate["quantized"]
    headline = figures.headline(float_)
    shown = [name for name in ("loss", "perplexity", *figures.HEADLINES[:-1]) if name in float_]
    exports = results.exports.values()
    return {
        "model": results.name,
        "family": model.family,
        "dataset": model.dataset,
        "parameters": results.train["parameters"],
        "steps": results.train["steps"],
        "tokens": results.train["tokens"],
        "headline": headline,
        **baseline(results.evaluate["baselines"], headline),
        **{f"float_{name}": float_[name] for name in shown},
        **{f"quantized_{name}": quantized[name] for name in shown},
        "float_bytes": float_["bytes"],
        "quantized_bytes": quantized["bytes"],
        "quantized_bits_per_weight": quantized["bits_per_weight"],
        "bits_per_weight_on_disk": results.quantize["quantized"]["bits_per_weight_on_disk"],
        "weight_snr_db": results.quantize["quantized"].get("weight_snr_db"),
        "formats": ", ".join(sorted(set(results.convert) - {"model_directory"})),
        "max_logit_difference": max(export["max_logit_difference"] for export in exports),
        "greedy_equal": min(export["greedy_equal"] for export in exports),
    }


def baseline(baselines: Mapping[str, Mapping[str, float]], headline: str) -> dict[str, Any]:
    """Name and value of the best baseline in a figure."""
    known = {name: section[headline] for name, section in baselines.items() if headline in section}
    if not known:
        return {"baseline": None, "baseline_value": None}
    best = (max if headline in figures.HIGHER_IS_BETTER else min)(known, key=lambda name: known[name])
    return {"baseline": best, "baseline_value": known[best]}
