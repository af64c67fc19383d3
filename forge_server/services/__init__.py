"""What the registry does, each service owning its transactions; plain values in and out."""
