"""NeuroGen as a library (`model`, which the package `libneurogen` shows) and its lesion report (`report`)."""
