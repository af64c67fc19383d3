"""Pure rules: what a token looks like, who may do what. No I/O, no clock."""
