"""The shape of params.yaml, one file a subject; `pipeline.config` reads it. No file here imports torch."""
