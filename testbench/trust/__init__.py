"""Bad input, kills and reproducibility: what the product does where something is wrong."""
