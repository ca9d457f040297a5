"""Feed-forward networks over one or several modalities: layers as data (`layers`), their graph (`network`), fusion (`fusion`)."""
