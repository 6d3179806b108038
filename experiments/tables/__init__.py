"""Tables and claims of papers as files, the trainings behind them, and what comes out, in pairs of runs."""
