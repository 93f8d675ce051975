"""Public reports as small cases with their right values, put to this suite and to its peers."""
