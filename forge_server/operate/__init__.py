"""What the operator's commands do: make, adopt, run and inspect a registry; the demonstration."""
