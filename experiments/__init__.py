"""The papers' experiments: scripts that are run from a checkout as modules, and the settings of the tables."""
