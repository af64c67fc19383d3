"""What operators look at: counts, probes, log lines, traces. None of it changes what is served."""
