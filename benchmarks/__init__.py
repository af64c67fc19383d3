"""One module per promise; each prints ratios measured within one run, never bare seconds alone."""
