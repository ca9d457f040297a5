"""Data: where text comes from, how it is cleaned, split and tokenized, and how training reads it."""
