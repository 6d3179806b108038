"""The papers' tables and claims, trained and measured from a checkout: `python -m experiments.compare`, `.claims`."""
