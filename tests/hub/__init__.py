"""A Hugging Face hub on the loopback address, stocked with small repositories of the true names."""
