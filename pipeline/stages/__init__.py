"""The stages, one thin file each: read the configuration, call the library, publish."""
