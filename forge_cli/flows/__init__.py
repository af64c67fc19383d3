"""What the commands do, without Click: each flow fetches, asks `signing`, and writes."""
