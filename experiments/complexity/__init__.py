"""What the methods cost: the papers' complexity tables, counted beside the printed numbers."""
