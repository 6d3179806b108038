"""How the sum y_k(b) = Σ_p w_k(b, p) x(p) is computed: one folder per sum, registered with torch by ``operator``."""
