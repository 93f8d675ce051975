"""The site: committed notebooks, every cell of the paper's tables, and the library's reference, as static pages."""
