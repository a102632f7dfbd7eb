"""The benchmark stage: this project's layers and torch's, in turns."""
