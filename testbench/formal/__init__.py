"""Formal proofs of the units' contracts, by bounded model checking and by induction."""
